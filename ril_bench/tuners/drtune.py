"""DRTune (arXiv 2405.00760): train steps spread over the whole rollout, with the denoiser's input detached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.tuners.base import Grading, Log, Penalty, Task, Tuner
from ril_bench.tuners.linear import linear_path


class Drtune(Tuner):
    """DRTune: K equally spaced steps keep the gradient of their noise; the rollout may stop early.

        stop = T - randint(1, m)                        (T - 1 if m = 0)
        trained = {s + i floor(P / K), i < K}           s uniform over what keeps the last of them below P
        x_0 = x0hat at `stop`,  loss = -mean r(D(x_0)),  the denoiser always given sg(x)

    [secondary; T = 50, K = 5, m = 20 from memory.] K and m scale with the sampler: round(.1 T) and round(.4 T).
    `prefix` takes P = stop + 1, the steps that are executed; `paper` takes P = T, and what is trained after the stop
    is lost: with K = 1 some updates then have no gradient at all. Known faults elsewhere are avoided: the bound of s
    keeps the last step within reach, and there is an early stop.

    On the linear path, so in the memory of one call for any K: an update of N samples takes stop + 1 calls of the
    denoiser without gradient, K with gradient and their backward, one decoding and one call of the reward.
    """

    class Options(Tuner.Options):
        #: K, steps that are trained; null: a tenth of the sampler's
        k: Annotated[int, Field(ge=1, strict=True)] | None = None
        #: the rollout stops up to so many steps before its end; 0: never early; null: two fifths of the sampler's
        m: Annotated[int, Field(ge=0, strict=True)] | None = None
        #: what the trained steps are spread over: the steps executed [ours], or all [secondary]
        spread: Literal["prefix", "paper"] = "prefix"

    options: Options
    needs = frozenset({"reward_gradient"})

    def _sizes(self, steps: int) -> tuple[int, int]:
        """K and m for a sampler."""
        k, m = self.options.k, self.options.m
        k, m = max(round(0.1 * steps), 1) if k is None else k, round(0.4 * steps) if m is None else m
        shortest = min(steps - m + 1, steps) if self.options.spread == "prefix" else steps
        if m > steps or k > shortest:
            raise UserError(
                f"drtune trains {k} steps and stops up to {m} before the end of a sampler that has {steps}",
                where="tuner.k, tuner.m",
                hint=f"choose k + m of at most {steps + 1}, or more steps",
            )
        return k, m

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        self._sizes(task.sampler.steps)

    def _steps(self, steps: int, draws: Draws) -> tuple[list[int], int]:
        """Those that are trained, in order, and where the rollout stops."""
        k, m = self._sizes(steps)
        stop = steps - draws.integers(1, m + 1, "stop") if m else steps - 1
        within = stop + 1 if self.options.spread == "prefix" else steps
        apart = within // k
        first = draws.integers(0, within - (k - 1) * apart, "first")
        return [i for i in range(first, first + k * apart, apart) if i <= stop], stop

    def accumulate(
        self,
        model: DiffusionModel,
        prompts: list[str],
        task: Task,
        penalty: Penalty | None,
        draws: Draws,
        share: float,
    ) -> Log:
        graded, stop = self._steps(task.sampler.steps, draws)
        grading = Grading(penalty, len(graded), share)
        outcome = linear_path(
            model, prompts, task, draws, grading, graded=graded, stop=stop, loss_of=lambda reward: -reward
        )
        return grading.log(outcome.reward, outcome.loss)
