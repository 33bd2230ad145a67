"""DDPO (arXiv 2305.13301): policy gradient on the sampler's own steps.

The two additions of DPOK (arXiv 2305.16381) are options.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import DDIM, Prediction, predict_step
from ril_bench.tuners.base import Log, LossAccumulator, MicroBatch, Task
from ril_bench.tuners.nets import ValueNet
from ril_bench.tuners.rollouts import RolloutTuner
from ril_bench.tuners.samples import stratified_steps

CLIP_ADVANTAGE = 5.0  # [code]


def log_probability(ddim: DDIM, i: int, x: Tensor, after: Tensor, eps: Tensor) -> Tensor:
    """log p(x_s | x_t) of step i, (N,), averaged over the latent's elements [code], without its constant."""
    mean = ddim.step(x, eps, i, None)
    return -((after - mean).square() / (2 * ddim.sigma[i] ** 2)).mean((1, 2, 3))


def advantages(rewards: Tensor) -> Tensor:
    """Rewards (copies, N), normalised within each prompt and clipped at +-5; 0 where all are equal. [code]"""
    sd = rewards.std(0, correction=0)
    return ((rewards - rewards.mean(0)) / (sd + 1e-8)).clamp(-CLIP_ADVANTAGE, CLIP_ADVANTAGE)


def clipped_loss(advantage: Tensor, ratio: Tensor, clip: float) -> Tensor:
    """max(-A rho, -A clip(rho, 1 - clip, 1 + clip)), (N,). [code]"""
    return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip))


class Ddpo(RolloutTuner):
    """DDPO: each sampling step is an action, and its return is the score of the finished image.

        loss = mean max(-A rho, -A clip(rho, 1 +- c)),    rho = p_theta(x_s | x_t) / p_sampled(x_s | x_t)

    over copies and steps. A is normalised over the copies of a prompt and clipped at 5; log p is averaged over latent
    dimensions; c = 1e-4, eta 1 [code]. DDPO's running statistics over the last 32 images of a prompt are left out, as
    an update must not depend on the prompts that came before [ours]. DPOK adds `value`, a network V(x_t, t, c) whose
    estimate is subtracted from the advantage, and `kappa`, kappa mean (eps_theta - eps_ref)^2 [code]. V estimates
    A [ours]. A has no unit, so the unit of the reward changes nothing.

    With `reuse`, the same images serve several updates. In the first of them rho is 1, and the gradient is
    that of REINFORCE. The tuner needs no gradient of the reward.

    Cost: an update of N prompts takes samples x T calls of the denoiser without gradient, `samples` decodings and
    reward calls (all this once in `reuse` updates), and samples x steps calls with gradient; with `kappa`, as many
    calls of the reference without gradient.
    """

    class Options(RolloutTuner.Options):
        samples: Annotated[int, Field(ge=2, strict=True)] = 4
        """Images of each prompt."""
        steps: Annotated[int, Field(ge=1, strict=True)] | None = None
        """Number of trained steps of each rollout, one from each of as many equal segments; null: all [code]."""
        clip: Annotated[float, Field(gt=0)] = 1e-4
        """c: the ratio is clipped to the range from 1 - c to 1 + c."""
        value: bool = False
        """Whether to subtract DPOK's value network as a baseline, besides the mean of the prompt."""
        width: Annotated[int, Field(ge=1, strict=True)] = 128
        """Width of the two layers of V."""
        kappa: Annotated[float, Field(ge=0)] = 0.0
        """DPOK's weight of the distance to the `reference`; DPOK has the pretrained model as reference."""

    options: Options
    needs = frozenset({"reward"})

    def auxiliary_net(self, model: DiffusionModel) -> nn.Module | None:
        return ValueNet(model, self.options.width) if self.options.value else None

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        batch, copies = self._buffer.trajectories(model, task, batch, self.options.samples)
        rewards = torch.stack([copy.reward for copy in copies])
        of_copies = advantages(rewards)
        ddim, n = task.sampler, min(self.options.steps or task.sampler.steps, task.sampler.steps)
        losses, total = LossAccumulator(batch, calls=n * len(copies)), 0.0
        for i in stratified_steps(ddim.steps, n, batch.draws, "trained"):
            for copy, advantage in zip(copies, of_copies, strict=True):
                x, after = copy.x[i], copy.x[i + 1]
                prediction = predict_step(model, ddim, x, i, batch.prompts, task.guidance)
                losses.penalise(prediction)
                sampled = log_probability(ddim, i, x, after, copy.eps[i])
                ratio = (log_probability(ddim, i, x, after, prediction.eps) - sampled).exp()
                loss = self._loss(model, prediction, advantage, ratio) / (n * len(copies))
                losses.backward(loss)
                total += loss.item()
        return losses.log(rewards.mean().item(), total)

    def _loss(
        self, model: DiffusionModel, prediction: Prediction, advantage: Tensor, ratio: Tensor
    ) -> Tensor:
        """The mean loss of one step of one copy, with DPOK's additions."""
        x, t, prompts = prediction.x_t, prediction.t, prediction.prompts
        added = torch.zeros(())
        if self._net is not None:
            value = self._net(x, t, model.embed(prompts))
            added = added + (value - advantage).square().mean()
            advantage = (advantage - value.detach()).clamp(-CLIP_ADVANTAGE, CLIP_ADVANTAGE)
        if self.options.kappa:
            with torch.no_grad(), self._reference.loaded(model):
                prior = model.predict(x, t, prompts, prediction.guidance)
            added = added + self.options.kappa * (prediction.eps - prior).square().mean()
        return clipped_loss(advantage, ratio, self.options.clip).mean() + added
