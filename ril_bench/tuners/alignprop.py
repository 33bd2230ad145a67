"""AlignProp (arXiv 2310.03739): backpropagation through the sampler, truncated at random."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.draws import Draws
from ril_bench.tuners.base import Grading, Held, Log, Penalty, Task, Tuner
from ril_bench.tuners.chain import through_the_sampler

MEAN_CUT, SPREAD_OF_CUT = 42 / 50, 5 / 50  # of the release, as parts of its 50 steps [code]


class Alignprop(Tuner):
    """AlignProp: DRaFT with gradients thinned out at random; loss = coefficient |r - target|.

    original: step i of T keeps the gradient of its noise with probability (i + 1) / (T + 1), drawn afresh at every
    step; the chain through x is kept throughout. released: one cut for the whole rollout, ~ N(42, 5) of 50 steps,
    after which every step keeps it. [code; T + 1 = 51 there] The last step always keeps its gradient here, or an
    update might have none [ours].

    Settings of the release: eta 1, guidance 5, lr 1e-3, clip 1..5, batch 128 [code]. Its latest version halves
    images into [0.5, 1] before the reward sees them; here a reward sees [0, 1] and nothing else.

    An update of N samples takes `steps` calls of the denoiser, those that keep their gradient with a backward, one
    decoding and one call of the reward. `original` holds the graphs of about half of all calls at once.
    """

    class Options(Tuner.Options):
        variant: Literal["original", "released"] = "released"
        #: of the loss; an optimizer like Adam hardly sees it, a method's penalty beside it does. 0.01 in the release
        #: [code]; 1 here, so that a penalty's strength means what it means beside draft [ours]
        coefficient: Annotated[float, Field(gt=0)] = 1.0
        #: of the signed reward; null: as high as can be, loss = -coefficient r, as in its coefficient (1 - r) [code]
        target: float | None = None

    options: Options
    needs = frozenset({"reward_gradient"})

    def _graded(self, steps: int, draws: Draws) -> list[int]:
        if self.options.variant == "released":
            cut = MEAN_CUT * steps + SPREAD_OF_CUT * steps * draws.gauss("cut")
            return list(range(min(max(round(cut), 0), steps - 1), steps))
        # the release draws an integer in [0, T] and detaches the steps before it
        return [i for i in range(steps) if i == steps - 1 or draws.integers(0, steps + 1, "cut", i) <= i]

    def holds(self, steps: int, guided: int) -> Held:
        # two deviations above the mean: a rare draw holds more, and a micro-batch that does not fit is halved
        if self.options.variant == "released":
            kept = steps - round((MEAN_CUT - 2 * SPREAD_OF_CUT) * steps)
        else:
            kept = math.ceil(steps / 2 + 2 * math.sqrt(steps / 6))
        return Held(min(kept, steps) * guided, together=True)

    def _loss(self, reward: Tensor) -> Tensor:
        off = -reward if self.options.target is None else (reward - self.options.target).abs()
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
        graded = self._graded(task.sampler.steps, draws)
        grading = Grading(penalty, len(graded), share)
        outcome = through_the_sampler(model, prompts, task, draws, grading, graded=graded, loss_of=self._loss)
        return grading.log(outcome.reward, outcome.loss)
