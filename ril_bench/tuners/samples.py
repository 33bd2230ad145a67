"""What several tuners do with samples: score and compare copies of a prompt, and choose steps of the sampler."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import sample
from ril_bench.draws import Draws, Key
from ril_bench.tuners.base import MicroBatch, Task

CLIP_ADVANTAGE = 5.0  # [code]


def advantages(rewards: Tensor, whole: Tensor | None = None) -> Tensor:
    """(r - mean) / deviation of rewards (copies, N), clipped at +-5; 0 where the rewards of a prompt are equal. [code]

    The mean is over the copies of each prompt. So is the deviation (DDPO, DanceGRPO), unless `whole`, the rewards
    (copies, B) of the whole batch, is given: then there is one deviation, that of all of them (Flow-GRPO).
    """
    # In float64 the mean of equal float32 scores is exact, so that rounding is never taken for an advantage.
    exact = rewards.double()
    deviation = exact.std(0, correction=0) if whole is None else whole.double().std(correction=0)
    found = (exact - exact.mean(0)) / (deviation.to(exact.device) + 1e-8)
    return found.clamp(-CLIP_ADVANTAGE, CLIP_ADVANTAGE).to(rewards.dtype)


@torch.no_grad()
def scored_copies(model: DiffusionModel, task: Task, batch: MicroBatch, copies: int) -> tuple[Tensor, Tensor]:
    """Generates `copies` images of each prompt: latents (copies, N, C, h, w), and signed scores (copies, N) in sigma.

    Takes copies x T calls of the denoiser, `copies` decodings and `copies` calls of the reward.
    """
    latents, rewards = [], []
    for j in range(copies):
        x0 = sample(model, task.sampler, batch.prompts, batch.draws.copy(j), guidance=task.guidance)
        latents.append(x0)
        rewards.append(task.reward(model.decode(x0), batch.prompts))
    return torch.stack(latents), torch.stack(rewards)


def stratified_steps(steps: int, n: int, draws: Draws, *what: Key) -> list[int]:
    """n of a sampler's steps, one drawn from each of n equal segments, in order.

    All micro-batches of an update draw the same steps.
    """
    bounds = [round(j * steps / n) for j in range(n + 1)]
    return [draws.integers(low, high, *what, j) for j, (low, high) in enumerate(pairwise(bounds))]
