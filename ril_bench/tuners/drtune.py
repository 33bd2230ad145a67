"""DRTune (arXiv 2405.00760): train steps of the whole rollout, with detached inputs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.tuners.base import Log, LossAccumulator, MicroBatch, Task, Tuner
from ril_bench.tuners.linear import linear_path


class Drtune(Tuner):
    """DRTune: K equally spaced steps keep the gradient of their noise; the rollout can stop early.

        stop = T - randint(1, m)                        (T - 1 if m = 0)
        trained = {s + i floor(P / K), i < K}           s uniform, such that the last trained step is below P
        x_0 = x0hat at `stop`,  loss = -mean r(D(x_0)),  the denoiser always gets sg(x)

    [secondary; T = 50, K = 5, m = 20 from memory.] K and m scale with the sampler: round(.1 T) and round(.4 T).
    `spread: prefix` has P = stop + 1, the steps that are executed [ours]. `paper` has P = T; steps after the stop are
    then not trained, and with K = 1 some updates have no gradient at all. Two faults of other implementations are
    avoided: here the range of s includes the last step, and the rollout does stop early.

    Cost: an update of N samples takes stop + 1 calls of the denoiser without gradient, K calls with gradient and
    their backward, one decoding and one call of the reward. The tuner uses the linear path, so it needs the memory of
    one call for any K.
    """

    class Options(Tuner.Options):
        k: Annotated[int, Field(ge=1, strict=True)] | None = None
        """K, the number of trained steps; null: a tenth of the sampler's steps."""
        m: Annotated[int, Field(ge=0, strict=True)] | None = None
        """The rollout stops up to m steps before its end; 0: never early; null: two fifths of the sampler's
        steps."""
        spread: Literal["prefix", "paper"] = "prefix"
        """Where the trained steps are. prefix: spread over the executed steps [ours]; paper: over all [secondary]."""

    options: Options
    needs = frozenset({"reward_gradient"})

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        self._sizes(task.sampler.steps)

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        trained, stop = self._steps(task.sampler.steps, batch.draws)
        losses = LossAccumulator(batch, calls=len(trained))
        rollout = linear_path(
            model, task, batch, losses, grad_steps=trained, stop=stop, loss_of=lambda reward: -reward
        )
        return losses.log(rollout.reward, rollout.loss)

    def _steps(self, steps: int, draws: Draws) -> tuple[list[int], int]:
        """The trained steps, in order, and the step at which the rollout stops."""
        k, m = self._sizes(steps)
        stop = steps - draws.integers(1, m + 1, "stop") if m else steps - 1
        end = stop + 1 if self.options.spread == "prefix" else steps
        stride = end // k
        first = draws.integers(0, end - (k - 1) * stride, "first")
        return [i for i in range(first, first + k * stride, stride) if i <= stop], stop

    def _sizes(self, steps: int) -> tuple[int, int]:
        """K and m for a sampler. Raises UserError where they do not fit it."""
        k, m = self.options.k, self.options.m
        k, m = max(round(0.1 * steps), 1) if k is None else k, round(0.4 * steps) if m is None else m
        shortest = min(steps - m + 1, steps) if self.options.spread == "prefix" else steps
        if m > steps or k > shortest:
            raise UserError(
                f"drtune trains {k} steps and stops up to {m} before the end of a sampler that has {steps}",
                where="tuner.k, tuner.m",
                hint=f"choose k and m with k + m of at most {steps + 1}, or a sampler with more steps",
            )
        return k, m
