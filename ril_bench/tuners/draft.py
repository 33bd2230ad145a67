"""DRaFT (arXiv 2309.17400): differentiate the reward through the sampler."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction, sample
from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.tuners.base import Log, Penalty, Task, Tuner


class Draft(Tuner):
    """DRaFT-K: no gradient until the last K sampling steps, then the full chain; loss = -mean r(D(x_0)).

    [code/secondary; the paper's settings (lr 2e-4..4e-4, rank 8..32, weight decay 0.1, 50 steps, guidance
    7.5) secondary] An update of N samples takes steps - K calls of the denoiser without gradient, K with
    gradient and their backward, one decoding and one call of the reward.
    """

    class Options(Tuner.Options):
        k: Annotated[int, Field(ge=1, strict=True)] | Literal["full"] = (
            1  # last steps with gradient; full: all
        )

    options: Options
    needs: ClassVar[frozenset[str]] = frozenset({"reward_gradient"})

    def _graded(self, task: Task) -> range:
        steps = task.sampler.steps
        k = steps if self.options.k == "full" else self.options.k
        if k > steps:
            raise UserError(
                f"draft differentiates through the last {k} steps of a sampler that has {steps}",
                where="tuner.k",
                mend=f'choose 1 to {steps}, or "full"',
            )
        return range(steps - k, steps)

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        self._graded(task)

    def accumulate(
        self,
        model: DiffusionModel,
        prompts: list[str],
        task: Task,
        penalty: Penalty | None,
        draws: Draws,
        share: float,
    ) -> Log:
        graded = self._graded(task)
        penalties: list[Tensor] = []

        def on_graded(prediction: Prediction) -> None:
            if penalty is not None and (value := penalty(prediction)) is not None:
                penalties.append(value)

        latents = sample(
            model, task.sampler, prompts, draws, guidance=task.guidance, graded=graded, on_graded=on_graded
        )
        reward = task.reward(model.decode(latents), prompts)
        if not reward.requires_grad:
            raise UserError(
                "draft differentiates the reward, and this one keeps no gradient",
                where="tuner",
                mend="choose a differentiable reward, or a tuner that needs its values alone",
            )
        loss = -reward.mean()
        extra = torch.stack(penalties).sum() / len(graded) if penalties else torch.zeros_like(loss)
        (share * (loss + extra)).backward()
        return Log(
            reward=share * -loss.item(),
            loss=share * loss.item(),
            penalty=share * extra.item(),  # not the difference of the sums, which would round it away
        )
