"""AlignProp (arXiv 2310.03739): backpropagation through the sampler, truncated at random."""

from __future__ import annotations

import math
from itertools import count
from statistics import NormalDist
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.draws import Draws
from ril_bench.tuners.base import (
    Cost,
    Log,
    LossAccumulator,
    MicroBatch,
    OpenGraphs,
    RewardGradientTuner,
    Task,
)
from ril_bench.tuners.chain import chain_path

# Values of the release, as parts of its 50 steps [code]
CUT_MEAN, CUT_SD = 42 / 50, 5 / 50


class Alignprop(RewardGradientTuner):
    """AlignProp: DRaFT with the gradient of random steps left out; loss = coefficient |r - target|, r in sigma.

    original: step i of T keeps the gradient of its prediction with probability (i + 1) / (T + 1), drawn for each step;
    the chain through x is kept at all steps. released: one cut for the whole rollout, ~ N(42, 5) of 50 steps; all steps
    from the cut on keep their gradient. [code; T + 1 = 51 there] The last step always keeps its gradient here, so
    that every update has a gradient [ours].

    Settings of the release: eta 1, guidance 5, lr 1e-3, clip 1..5, batch 128 [code]. Its latest version maps
    images into [0.5, 1] before it scores them; here a reward always gets images in [0, 1].

    Cost: an update of N samples takes `steps` calls of the denoiser, a backward for each call that keeps its gradient,
    one decoding and one call of the reward. `original` keeps the graphs of about half of all calls at the same time.
    """

    class Options(RewardGradientTuner.Options):
        variant: Literal["original", "released"] = "released"
        """Which steps keep their gradient."""
        coefficient: Annotated[float, Field(gt=0)] = 1.0
        """Factor of the loss. It hardly changes Adam's updates, but it weighs the loss against a method's penalty.
        0.01 in the release [code]; 1 here, so that a penalty's strength means the same as with draft [ours]."""
        target: float | None = None
        """Target of the reward, in sigma: scores above it are pulled down. null: loss = -coefficient r, which has the
        gradient of the release's coefficient (1 - r) [code], or coefficient relu(cap - r) with a cap [ours]."""

        @model_validator(mode="after")
        def _target_or_cap(self) -> Any:
            if self.target is not None and self.cap is not None:
                raise ValueError(
                    "target and cap exclude each other: a target also pulls scores down, a cap does not"
                )
            return self

    options: Options

    def open_graphs(self, steps: int, guided: int) -> OpenGraphs:
        # Two standard deviations above the mean. A rare update needs more; it is then repeated in smaller parts.
        if self.options.variant == "released":
            kept = steps - round((CUT_MEAN - 2 * CUT_SD) * steps)
        else:
            kept = math.ceil(steps / 2 + 2 * math.sqrt(steps / 6))
        return OpenGraphs(min(kept, steps) * guided, together=True)

    def update_cost(self, steps: int, guided: int) -> Cost:
        return Cost(guided * steps, guided * self._mean_kept(steps), 1, 1)

    def _mean_kept(self, steps: int) -> float:
        """The mean number of steps that keep their gradient: the last one, and each other with its probability."""
        if self.options.variant == "released":
            below = NormalDist(CUT_MEAN * steps, CUT_SD * steps).cdf
            shares = {cut: below(cut + 1) - below(cut) for cut in range(1, steps)} or {0: 1.0}
            return sum((steps - cut) * share for cut, share in shares.items()) / sum(shares.values())
        return 1 + sum((i + 1) / (steps + 1) for i in range(steps - 1))

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        grad_steps = self._grad_steps(task.sampler.steps, batch.draws)
        losses = LossAccumulator(batch, calls=len(grad_steps))
        rollout = chain_path(model, task, batch, losses, grad_steps=grad_steps, loss_of=self._loss)
        return losses.log(rollout.reward, rollout.loss)

    def _grad_steps(self, steps: int, draws: Draws) -> list[int]:
        if self.options.variant == "released":
            # Whole numbers below the drawn ones, which are drawn again until they are inside [code].
            drawn = (int(steps * (CUT_MEAN + CUT_SD * draws.gauss("cut", attempt))) for attempt in count())
            cut = next(cut for cut in drawn if 1 <= cut < steps) if steps > 1 else 0
            return list(range(cut, steps))
        # The release draws an integer in [0, T] and detaches the steps before it.
        return [i for i in range(steps) if i == steps - 1 or draws.integers(0, steps + 1, "cut", i) <= i]

    def _loss(self, reward: Tensor) -> Tensor:
        target = self.options.target
        loss = self.reward_loss(reward) if target is None else (reward - target).abs()
        return self.options.coefficient * loss
