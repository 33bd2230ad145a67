"""The linear path: the exact gradient of many denoiser calls, in the memory of one. [ours]

Where the denoiser gets sg(x), as in DRTune, x_0 is linear in the output of each call: dx_0/dout_k = c_k, a scalar
(`Sampler.slope`). The gradient of the loss then needs no chain through the sampler:

    G = dloss/dx_0,    dloss/dtheta = sum_k  d <c_k sg(G), out_k> / dtheta.

Each term is one call of the denoiser on latents that the rollout has stored. The call returns the same output as in the
rollout: the noise of eta is drawn once, in the rollout, and the denoiser has no dropout in evaluation mode.

A bridge (FlowBP) keeps the Jacobian of one call j: the denoiser gets alpha x_j + (1 - alpha) sg(x_j) there. The calls
before j then also reach x_0 through call j, and c_k G becomes c_k G + alpha dx_j/dout_k [dout_j/dx_j]^T c_j G.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction, sample
from ril_bench.tuners.base import LossAccumulator, MicroBatch, Task, differentiable_reward
from ril_bench.tuners.chain import Rollout


class Bridge(NamedTuple):
    """The step whose call keeps its Jacobian, and alpha, the share of the gradient that goes through it."""

    step: int
    alpha: float


def linear_path(
    model: DiffusionModel,
    task: Task,
    batch: MicroBatch,
    losses: LossAccumulator,
    *,
    grad_steps: Collection[int],
    loss_of: Callable[[Tensor], Tensor],
    stop: int | None = None,
    bridge: Bridge | None = None,
) -> Rollout:
    """Back-propagates mean loss_of(r(D(x_0))) into the steps in `grad_steps`, whose denoiser inputs are detached.

    Calls the denoiser once for each step without gradient, and again with gradient for each step in `grad_steps`. With
    `stop`, x_0 is x0hat at that step, and no step of `grad_steps` comes after it. A `bridge` takes one call more, with
    gradient to the latents alone; its step is one of `grad_steps`.
    """
    stored: dict[int, Prediction] = {}

    def store(prediction: Prediction) -> None:
        if prediction.step in grad_steps:
            stored[prediction.step] = prediction

    with torch.no_grad():
        x0 = sample(
            model, task.sampler, batch.prompts, batch.draws, guidance=task.guidance, stop=stop, on_step=store
        )
    x0.requires_grad_(bool(stored))
    reward = differentiable_reward(task, model.decode(x0), batch.prompts)
    loss = loss_of(reward).mean()
    rollout = Rollout(reward.mean().item(), loss.item(), x0.detach())
    if stored:
        (slope_of_x0,) = torch.autograd.grad(loss, x0)
        # Frees the graphs of the decoder and of the reward before the first call of the denoiser.
        del reward, loss
        sampler = task.sampler
        slopes = {k: sampler.slope(k, stop) * slope_of_x0 for k in stored}
        if bridge is not None:
            through = _through(model, stored[bridge.step], slopes[bridge.step])
            for k in (k for k in stored if k < bridge.step):
                slopes[k] = slopes[k] + bridge.alpha * sampler.reach(k, bridge.step) * through
        for k, prediction in stored.items():
            out = model.predict(prediction.x_t, prediction.t, batch.prompts, prediction.guidance)
            losses.penalise(prediction.with_output(out))
            losses.backward((slopes[k] * out).sum())
    return rollout


def _through(model: DiffusionModel, prediction: Prediction, slope: Tensor) -> Tensor:
    """[dout/dx]^T slope of the denoiser call of a prediction."""
    with model.folded(), torch.enable_grad():
        x = prediction.x_t.clone().requires_grad_()
        out = model.predict(x, prediction.t, prediction.prompts, prediction.guidance)
        return torch.autograd.grad(out, x, slope)[0]
