"""Scores of images of fixed training prompts and latents.

The prompts and latents are the same in every run on a prompt set, so that two models can be compared image by image.
The evaluation has others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import sample
from ril_bench.diffusion.steps import Sampler
from ril_bench.draws import Draws
from ril_bench.errors import NumericalError
from ril_bench.machine.parallel import team
from ril_bench.rewards.base import Reward
from ril_bench.running.evaluation import images_at_once
from ril_bench.running.reward_task import drawn_prompt

KEY = ("fixed images",)  # decides the prompts and latents


def fixed_prompts(prompts: Sequence[str], n: int) -> list[str]:
    """The prompts of the first n images, drawn from a prompt set."""
    return [drawn_prompt(prompts, KEY, k) for k in range(n)]


@torch.no_grad()
def fixed_scores(
    model: DiffusionModel,
    sampler: Sampler,
    guidance: float,
    prompts: Sequence[str],
    rewards: Mapping[str, Reward],
    n: int,
) -> dict[str, Tensor]:
    """The scores (n,) of the model's first n images by each reward, in the rewards' units, on the CPU.

    The processes of a run share the batches. Raises NumericalError for a score that is not finite.

    Args:
        prompts: the prompt set of the training.
    """
    together, at_once = team(), images_at_once(model)
    chosen, draws = fixed_prompts(prompts, n), Draws(KEY, range(n))
    starts = range(0, n, at_once)
    own = together.owned(range(len(starts)))  # share out whole batches, so that sums keep their bits

    def scored() -> list[dict[str, Tensor]]:
        found = []
        for start in (starts[i] for i in own):
            part = slice(start, start + at_once)
            latents = sample(model, sampler, chosen[part], draws[part], guidance=guidance)
            images = model.decode(latents)
            for name in rewards:
                model.counter[f"reward:{name}", False, len(images)] += 1
            found.append({name: reward(images, chosen[part]).cpu() for name, reward in rewards.items()})
        return found

    with together.counted(model.counter):
        batches = together.gathered(scored)
    in_order = [batches[i % together.size][i // together.size] for i in range(len(starts))]
    scores = {name: torch.cat([batch[name] for batch in in_order]) for name in rewards}
    for name, values in scores.items():
        bad = (~values.isfinite()).nonzero().flatten().tolist()
        if bad:
            raise NumericalError(
                f"the reward {name} of {len(bad)} of {n} images is not finite",
                where=f"images of training prompts, first of {chosen[bad[0]]!r}",
                hint="fix the reward, or lower the learning rate",
            )
    return scores
