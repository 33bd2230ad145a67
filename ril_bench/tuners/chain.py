"""The chain path: one update through the sampler by plain autograd, for DRaFT-K and AlignProp."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import sample
from ril_bench.tuners.base import LossAccumulator, MicroBatch, Task, differentiable_reward


class Rollout(NamedTuple):
    """The result of a differentiated rollout.

    Attributes:
        reward: mean signed reward, in sigma.
        loss: mean loss.
        x0: the latents (N, C, h, w), detached.
    """

    reward: float
    loss: float
    x0: Tensor


def chain_path(
    model: DiffusionModel,
    task: Task,
    batch: MicroBatch,
    losses: LossAccumulator,
    *,
    grad_steps: Collection[int],
    loss_of: Callable[[Tensor], Tensor],
) -> Rollout:
    """Back-propagates mean loss_of(r(D(x_0))) through the steps in `grad_steps`, along the full chain through x.

    Keeps the graphs of all differentiated calls, of the decoder and of the reward at the same time. `loss_of` maps
    scores (N,) in sigma to losses (N,).
    """
    x0 = sample(
        model,
        task.sampler,
        batch.prompts,
        batch.draws,
        guidance=task.guidance,
        grad_steps=grad_steps,
        on_grad_step=losses.penalise,
    )
    reward = differentiable_reward(task, model.decode(x0), batch.prompts)
    loss = loss_of(reward).mean()
    losses.backward(loss)
    return Rollout(reward.mean().item(), loss.item(), x0.detach())
