"""ReFL (arXiv 2304.05977): differentiate the reward of x0hat at one late step."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.tuners.base import Cost, Log, LossAccumulator, MicroBatch, RewardGradientTuner, Task
from ril_bench.tuners.linear import linear_path


class Refl(RewardGradientTuner):
    """ReFL: sample without gradient up to a step of the last quarter, then differentiate r(D(x0hat)) there.

        loss = coefficient mean relu(cap - r)

    The release draws the step from 30..39 of 40, with coefficient 1e-3 and cap 2 on ImageReward's scale, without
    guidance, and trains the full UNet at lr 1e-5 [code: ImageReward]. Here r is in sigma, and without a cap, the
    default, loss = -coefficient mean r [ours]. The guidance is that of the sequence, as all images of the sequence are
    sampled with it [ours]. The paper's extra loss on pretraining images is neither in the release nor here.

    Cost: an update of N samples takes mid + 1 calls of the denoiser without gradient, one call with gradient and its
    backward (the linear path), one decoding and one call of the reward.
    """

    class Options(RewardGradientTuner.Options):
        coefficient: Annotated[float, Field(gt=0)] = 1.0
        """Factor of the loss; it weighs the loss against a method's penalty."""
        last: Annotated[float, Field(gt=0, le=1)] = 0.25
        """The last part of the steps, from which the differentiated step is drawn [code: 1/4]."""

    options: Options

    def update_cost(self, steps: int, guided: int) -> Cost:
        executed = steps - (self._late(steps) - 1) / 2  # mid + 1, in the mean
        return Cost(guided * (executed + 1), guided, 1, 1)

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        steps = task.sampler.steps
        mid = batch.draws.integers(steps - self._late(steps), steps, "mid")
        losses = LossAccumulator(batch, calls=1)
        rollout = linear_path(model, task, batch, losses, grad_steps=[mid], stop=mid, loss_of=self._loss)
        return losses.log(rollout.reward, rollout.loss)

    def _late(self, steps: int) -> int:
        """The number of steps from which the differentiated step is drawn."""
        return math.ceil(self.options.last * steps)

    def _loss(self, reward: Tensor) -> Tensor:
        return self.options.coefficient * self.reward_loss(reward)
