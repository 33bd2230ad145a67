"""ReFL (arXiv 2304.05977): the reward of what a late step stands for, differentiated through that step alone."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.draws import Draws
from ril_bench.tuners.base import Grading, Log, Penalty, Task, Tuner
from ril_bench.tuners.linear import linear_path


class Refl(Tuner):
    """ReFL: no gradient up to a step drawn from the last quarter, one graded call there, then x0hat and D.

    loss = coefficient mean relu(margin - r). [code: ImageReward, where the step is one of 30..39 of 40, coefficient
    1e-3 and margin 2 for ImageReward's own scale, without guidance, on the full UNet at lr 1e-5.] Without a margin
    loss = -coefficient mean r: no other reward has that scale [ours]. The guidance is the sequence's, as its images
    are made with it [ours]. The paper's extra loss on pretraining images is not in the release, nor here.

    An update of N samples takes mid + 1 calls of the denoiser without gradient, one with gradient and its backward
    (the linear path), one decoding and one call of the reward.
    """

    class Options(Tuner.Options):
        #: scores above it pull no more; null: all do
        margin: float | None = None
        #: of the loss: matters beside a method's penalty
        coefficient: Annotated[float, Field(gt=0)] = 1.0
        #: the part of the steps, counted from the end, that the graded one is drawn from [code: 1/4]
        last: Annotated[float, Field(gt=0, le=1)] = 0.25

    options: Options
    needs = frozenset({"reward_gradient"})

    def _loss(self, reward: Tensor) -> Tensor:
        off = -reward if self.options.margin is None else (self.options.margin - reward).relu()
        return self.options.coefficient * off

    def accumulate(
        self,
        model: DiffusionModel,
        prompts: list[str],
        task: Task,
        penalty: Penalty | None,
        draws: Draws,
        share: float,
    ) -> Log:
        steps = task.sampler.steps
        mid = draws.integers(steps - math.ceil(self.options.last * steps), steps, "mid")
        grading = Grading(penalty, 1, share)
        outcome = linear_path(
            model, prompts, task, draws, grading, graded=[mid], stop=mid, loss_of=self._loss
        )
        return grading.log(outcome.reward, outcome.loss)
