"""CRD, Centered Reward Distillation (arXiv 2603.14128): fit rewards by the likelihood ratio of two policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction
from ril_bench.tuners.base import Cost, Log, LossAccumulator, MicroBatch, Task
from ril_bench.tuners.forward_process import ForwardProcessTuner, Noised, scaled_error
from ril_bench.tuners.reference import Decay, MovingAverage
from ril_bench.tuners.samples import CLIP_ADVANTAGE

WEAKEST = 1e-4  # the weight of the distance to the reference for the worst image [code]


class Crd(ForwardProcessTuner):
    """CRD: the model's implicit reward, centred over the copies of a prompt, is fitted to the centred reward.

        r_theta = |v_old - u|^2 / w_old - |v_theta - u|^2 / w_theta,     u = noise - x0
        L = (5 / beta) mean [beta (r_theta - mean r_theta) - (q - mean q)]^2
            + kl mean [(m + q (1 - m)) |v_theta - v_ref|^2],     m = 1e-4 / kl

    over copies and noised versions x_t of each image x0. q is that of nft, in [0, 1]; v = noise - x0hat, |.|^2 is a
    mean over elements, and w = sg mean |v - u| of an image [code: X-GenGroup/Flow-Factory]. The unknown normalisation
    of the tilted distribution is the same for all images of a prompt, so it cancels in the centring. The means are over
    the copies of a prompt; Flow-Factory takes those of all images on all devices [ours]. An image with a high reward is
    kept closer to the reference. Where all rewards are equal, the loss has its minimum at the old policy.

    Two moving averages of the model have separate decays: one samples the images, `old` is compared with [code].
    The mean of r_theta needs all copies of a prompt, so r_theta is computed once without gradient before the loss of
    each copy: that keeps one graph open at a time [ours].

    Published for OCR: beta 1, kl 0.1 to the pretrained model with guidance 4.5, `old` from 0.25 by 0.005 to 0.999, 24
    images of 48 prompts, 10 deterministic steps without guidance, lr 3e-4, rank 32 [code].

    Cost: an update of N prompts takes samples x T calls of the denoiser without gradient, `samples` decodings and
    reward calls (all this once in `reuse` updates); samples x noises calls with gradient, as many without, as many of
    the old policy, and with `kl` as many of the reference.
    """

    class Options(ForwardProcessTuner.Options):
        beta: Annotated[float, Field(gt=0)] = 1.0
        """The implicit reward is beta r_theta, in units of q: 1/10 of the batch's deviation."""
        old: Decay = (0, 0.25, 0.001, 0.5)
        """The decay of the moving average that the model is compared with; (wait, start, slope, most) as in `decay`."""
        kl: Annotated[float, Field(ge=0)] = 0.1
        """Weight of the distance to the `reference` in velocity, for the best image."""
        reference_guidance: Annotated[float, Field(ge=1)] = 1.0
        """Guidance of the reference's prediction; 4.5 as published teaches the model what guidance would do [code]."""

    options: Options

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        super().start_task(task, model)
        self._compared = MovingAverage(model, self.options.old)

    def update_cost(self, steps: int, guided: int) -> Cost:
        reference = 0 if self.options.kl == 0 else 1 if self.options.reference_guidance == 1 else 2
        others = 2 + reference  # the old policy, and the model for the mean over the copies
        return self.rollouts_cost(steps, guided) + self.noised_cost(steps, others)

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        batch, copies = self.trajectories(model, task, batch)
        qs, beta, steps = self.optimality(batch, copies), self.options.beta, self.drawn_steps(task, batch)
        losses, total = LossAccumulator(batch, calls=len(steps) * len(copies)), 0.0
        for i in steps:
            noised = [self.noised(model, task, batch, copy, j, i) for j, copy in enumerate(copies)]
            old_errors = [self._old_error(model, task, one) for one in noised]
            mean = self._mean_implicit_reward(model, task, noised, old_errors)
            for one, old_error, q in zip(noised, old_errors, qs, strict=True):
                new = one.predicted(model, task)
                losses.penalise(new)
                gap = beta * (old_error - velocity_error(new, one) - mean) - (q - qs.mean(0))
                loss = CLIP_ADVANTAGE / beta * gap.square().mean() + self._distance(model, task, one, new, q)
                loss = loss / (len(steps) * len(copies))
                losses.backward(loss)
                total += loss.item()
        return losses.log(sum(copy.reward.mean().item() for copy in copies) / len(copies), total)

    @torch.no_grad()
    def _old_error(self, model: DiffusionModel, task: Task, noised: Noised) -> Tensor:
        """|v_old - u|^2 / w_old, (N,), of the moving average that the model is compared with."""
        with self._compared.loaded(model):
            return velocity_error(noised.predicted(model, task), noised)

    @torch.no_grad()
    def _mean_implicit_reward(
        self, model: DiffusionModel, task: Task, noised: list[Noised], old_errors: list[Tensor]
    ) -> Tensor:
        """The mean of r_theta over the copies of each prompt, (N,)."""
        errors = [velocity_error(one.predicted(model, task), one) for one in noised]
        return (torch.stack(old_errors) - torch.stack(errors)).mean(0)

    def _distance(
        self, model: DiffusionModel, task: Task, noised: Noised, new: Prediction, q: Tensor
    ) -> Tensor:
        """kl mean (m + q (1 - m)) |v_theta - v_ref|^2."""
        if not self.options.kl:
            return torch.zeros(())
        reference = self.reference_prediction(model, task, noised, self.options.reference_guidance)
        least = min(WEAKEST / self.options.kl, 1.0)
        distance = (new.velocity() - reference.velocity()).square().mean((1, 2, 3))
        return self.options.kl * ((least + q * (1 - least)) * distance).mean()

    def averages(self) -> list[MovingAverage]:
        return [*super().averages(), self._compared]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "compared": self._compared.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._compared.load_state_dict(state["compared"])


def velocity_error(prediction: Prediction, noised: Noised) -> Tensor:
    """|v - u|^2 / w, (N,), of the velocity v of a prediction, with u = noise - x0."""
    return scaled_error(prediction.velocity(), noised.noise - noised.x0)
