"""DDPO (arXiv 2305.13301) and GRPO: policy gradient on the sampler's own steps.

The additions of DPOK (arXiv 2305.16381), Flow-GRPO (2505.05470), MixGRPO (2507.21802) and Flow-DPPO are options.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ril_bench.diffusion.drift import step_kl
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction, predict_step
from ril_bench.diffusion.steps import Sampler
from ril_bench.errors import UserError
from ril_bench.tuners.base import Cost, Log, LossAccumulator, MicroBatch, Task
from ril_bench.tuners.nets import ValueNet
from ril_bench.tuners.rollouts import RolloutTuner, Trajectory, sample_trajectory
from ril_bench.tuners.samples import CLIP_ADVANTAGE, advantages, stratified_steps


def log_probability(sampler: Sampler, i: int, x: Tensor, after: Tensor, out: Tensor) -> Tensor:
    """log p(x_s | x_t) of step i, (N,), averaged over the latent's elements [code], without its constant."""
    mean = sampler.step(x, out, i, None)
    return -((after - mean).square() / (2 * sampler.sigma[i] ** 2)).mean((1, 2, 3))


def divergence(sampler: Sampler, i: int, out: Tensor, other: Tensor) -> Tensor:
    """mean (mu - mu_other)^2 / (2 sigma^2) of step i, (N,): the KL in nats, divided by the latent's elements. [code]"""
    return step_kl(sampler, out, other, i) / out[0].numel()


def clipped_loss(advantage: Tensor, ratio: Tensor, clip: float) -> Tensor:
    """max(-A rho, -A clip(rho, 1 - clip, 1 + clip)), (N,). [code]"""
    return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip))


def masked_loss(advantage: Tensor, ratio: Tensor, moved: Tensor, tau: float) -> Tensor:
    """-A rho, (N,); 0 where the step moved by tau or more, and rho moves further in A's direction. [code]"""
    further = (ratio - 1) * advantage > 0
    return torch.where((moved >= tau) & further, 0.0, -advantage * ratio)


class Ddpo(RolloutTuner):
    """DDPO: each sampling step is an action, and its return is the score of the finished image.

        loss = mean max(-A rho, -A clip(rho, 1 +- c)),    rho = p_theta(x_s | x_t) / p_sampled(x_s | x_t)

    over copies and steps. A is normalised over the copies of a prompt and clipped at 5; log p is averaged over latent
    dimensions; c = 1e-4, eta 1 [code]. DDPO's running statistics over the last 32 images of a prompt are left out, as
    an update must not depend on the prompts that came before [ours]. A has no unit, so the unit of the reward changes
    nothing. DanceGRPO (arXiv 2505.07818) is this, with 16 copies [code]. The options of later papers may be combined:

    - DPOK: `value`, a network V(x_t, t, c) whose estimate is subtracted from A, and `kappa`, kappa mean (out_theta -
      out_ref)^2 of the denoiser's outputs [code]. V estimates A [ours].
    - Flow-GRPO: `std: batch`, one deviation for all rewards of the batch, and `kl`, kl mean (mu_theta - mu_ref)^2 /
      (2 sigma^2) [code; there sigma lacks the factor sqrt(dt), so an equal weight pulls 1 / dt times as hard here].
    - MixGRPO: `window`, noise and training on a few steps alone; the others are deterministic. Its first step is drawn
      for each update, from all steps [ours; Flow-GRPO-Fast draws from the first half, MixGRPO moves it forward].
    - Flow-DPPO: `mask: dppo`, loss = -A rho without a clip, but 0 where mean (mu_theta - mu_sampled)^2 / (2 sigma^2)
      >= tau and rho moves further in A's direction [code: Tencent-Hunyuan/UniRL].

    With `reuse`, the same images serve several updates. In the first of them rho is 1, and the gradient is
    that of REINFORCE; clip and mask act from the second on. The tuner needs no gradient of the reward.

    Cost: an update of N prompts takes samples x T calls of the denoiser without gradient, `samples` decodings and
    reward calls (all this once in `reuse` updates), and samples x steps calls with gradient; with `kappa` or `kl`, as
    many calls of the reference without gradient.
    """

    class Options(RolloutTuner.Options):
        samples: Annotated[int, Field(ge=2, strict=True)] = 4
        """Images of each prompt."""
        std: Literal["prompt", "batch"] = "prompt"
        """Whose deviation divides A: that of a prompt's images, or that of all images of the update."""
        steps: Annotated[int, Field(ge=1, strict=True)] | None = None
        """Number of trained steps of each rollout, one from each of as many equal segments; null: all [code]."""
        window: Annotated[int, Field(ge=1, strict=True)] | None = None
        """Number of consecutive steps that have noise and are trained (MixGRPO: 1 or 2); null: all steps."""
        clip: Annotated[float, Field(gt=0)] = 1e-4
        """c: the ratio is clipped to the range from 1 - c to 1 + c."""
        mask: Literal["dppo"] | None = None
        """dppo: Flow-DPPO's mask replaces the clip."""
        tau: Annotated[float, Field(gt=0)] = 1e-5
        """Divergence of a step, in nats for each element of the latents, from which the mask acts [code]."""
        value: bool = False
        """Whether to subtract DPOK's value network as a baseline, besides the mean of the prompt."""
        width: Annotated[int, Field(ge=1, strict=True)] = 128
        """Width of the two layers of V."""
        kappa: Annotated[float, Field(ge=0)] = 0.0
        """DPOK's weight of the distance to the `reference` in the denoiser's output; there, the reference is the
        pretrained model."""
        kl: Annotated[float, Field(ge=0)] = 0.0
        """Flow-GRPO's weight of the divergence of each step from the `reference`, the pretrained model there."""

        @model_validator(mode="after")
        def _steps_in_the_window(self) -> Any:
            if self.steps and self.window and self.steps > self.window:
                raise ValueError("only the steps of the window are trained: steps must not exceed window")
            return self

    options: Options
    needs = frozenset({"reward", "random_steps"})

    @property
    def copies(self) -> int:
        return self.options.samples

    @property
    def compares_batch(self) -> bool:
        return self.options.std == "batch"

    def auxiliary_net(self, model: DiffusionModel) -> nn.Module | None:
        return ValueNet(model, self.options.width) if self.options.value else None

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        if (self.options.window or 0) > task.sampler.steps:
            raise UserError(
                f"a window of {self.options.window} steps is longer than a sampler of {task.sampler.steps}",
                where="tuner.window",
                hint=f"choose 1 to {task.sampler.steps}, or leave the window out",
            )
        super().start_task(task, model)

    def update_cost(self, steps: int, guided: int) -> Cost:
        graded = guided * self.copies * self._trained(steps)
        compared = graded if self.options.kappa or self.options.kl else 0
        return self.rollouts_cost(steps, guided) + Cost(graded + compared, graded)

    def _trained(self, steps: int) -> int:
        """The number of trained steps of each rollout."""
        window = self.options.window or steps
        return min(self.options.steps or window, window)

    def sample_copy(self, model: DiffusionModel, task: Task, batch: MicroBatch, j: int) -> Trajectory:
        sampler, draws = task.sampler, batch.draws.copy(j)
        window = self.options.window or sampler.steps
        first = batch.draws.integers(0, sampler.steps - window + 1, "window")  # the same for all copies
        if window < sampler.steps:
            sampler = sampler.random_at(range(first, first + window))
        return sample_trajectory(model, task, batch.prompts, draws, sampler=sampler, first=first)

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        batch, copies = self.trajectories(model, task, batch)
        rewards = torch.stack([copy.reward for copy in copies])
        of_copies = advantages(rewards, batch.rewards)
        sampler, window = task.sampler, self.options.window or task.sampler.steps
        n = self._trained(sampler.steps)
        losses, total = LossAccumulator(batch, calls=n * len(copies)), 0.0
        for trained in stratified_steps(window, n, batch.draws, "trained"):
            i = copies[0].first + trained
            for copy, advantage in zip(copies, of_copies, strict=True):
                prediction = predict_step(model, sampler, copy.x[i], i, batch.prompts, task.guidance)
                losses.penalise(prediction)
                loss = self._loss(model, prediction, copy, advantage) / (n * len(copies))
                losses.backward(loss)
                total += loss.item()
        return losses.log(rewards.mean().item(), total)

    def _loss(
        self, model: DiffusionModel, prediction: Prediction, copy: Trajectory, advantage: Tensor
    ) -> Tensor:
        """The mean loss of one step of one copy."""
        sampler, i, x, out = prediction.sampler, prediction.step, prediction.x_t, prediction.output
        after, sampled = copy.x[i + 1], copy.outputs[i]
        added = torch.zeros(())
        if self._net is not None:
            value = self._net(x, prediction.t, model.embed(prediction.prompts))
            added = added + (value - advantage).square().mean()
            advantage = (advantage - value.detach()).clamp(-CLIP_ADVANTAGE, CLIP_ADVANTAGE)
        if self.options.kappa or self.options.kl:
            with torch.no_grad(), self._reference.loaded(model):
                prior = model.predict(x, prediction.t, prediction.prompts, prediction.guidance)
            added = added + self.options.kappa * (out - prior).square().mean()
            added = added + self.options.kl * divergence(sampler, i, out, prior).mean()
        log_p, log_p_sampled = (log_probability(sampler, i, x, after, one) for one in (out, sampled))
        ratio = (log_p - log_p_sampled).exp()
        if self.options.mask == "dppo":
            loss = masked_loss(advantage, ratio, divergence(sampler, i, out, sampled), self.options.tau)
        else:
            loss = clipped_loss(advantage, ratio, self.options.clip)
        return loss.mean() + added
