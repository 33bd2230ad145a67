"""DRTune (arXiv 2405.00760): train steps of the whole rollout, with detached inputs; FlowBP's variants as options."""

from __future__ import annotations

from statistics import fmean
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.tuners.base import Cost, Log, LossAccumulator, MicroBatch, RewardGradientTuner, Task
from ril_bench.tuners.linear import Bridge, linear_path


class Drtune(RewardGradientTuner):
    """DRTune: K equally spaced steps keep the gradient of their prediction; the rollout can stop early.

        stop = T - randint(1, m)                        (T - 1 if m = 0)
        trained = {s + i floor(P / K), i < K}           s uniform, such that the last trained step is below P
        x_0 = x0hat at `stop`,  loss = -mean r(D(x_0)),  the denoiser always gets sg(x)

    [secondary; T = 50, K = 5, m = 20 from memory.] With a `cap`, the loss is mean relu(cap - r) [ours]. K and m scale
    with the sampler: round(.1 T) and round(.4 T). `spread: prefix` has P = stop + 1, the steps that are executed
    [ours]. `paper` has P = T; steps after the stop are then not trained, and with K = 1 some updates have a gradient of
    0: AdamW then moves on by its moments. Two faults of other implementations are avoided: here the range of s includes
    the last step, and the rollout does stop early.

    FlowBP (RuoyuWang-2077/FlowBP) is DRTune with other steps, m = 0 and a cap [code]. FlowBP-Sparse is `spread: late`:
    K different steps with probabilities in proportion to (i + 1)^late. FlowBP-Bridge is `bridge: alpha`: one trained
    step j, the later of two drawn steps, gets alpha x_j + (1 - alpha) sg(x_j), so the trained steps before it also act
    through it. About K j / T of the K steps come before j; they and the others, after j, are spread as in `late`. The
    release keeps all graphs open, and can scale the gradient by the share of the path that the trained steps cover;
    here one graph is open at a time (tuners/linear.py), and the scale is left out [ours].

    Cost: an update of N samples takes stop + 1 calls of the denoiser without gradient, K calls with gradient and
    their backward, one decoding and one call of the reward; a bridge takes one call more, with gradient to the latents.
    The tuner uses the linear path, so it needs the memory of one call for any K.
    """

    class Options(RewardGradientTuner.Options):
        k: Annotated[int, Field(ge=1, strict=True)] | None = None
        """K, the number of trained steps; null: a tenth of the sampler's steps."""
        m: Annotated[int, Field(ge=0, strict=True)] | None = None
        """The rollout stops up to m steps before its end; 0: never early; null: two fifths of the sampler's
        steps."""
        spread: Literal["prefix", "paper", "late"] = "prefix"
        """Where the trained steps are. prefix: spread over the executed steps [ours]; paper: over all [secondary];
        late: drawn from the executed steps, late ones more often [code: FlowBP]."""
        late: Annotated[float, Field(ge=0)] = 1.0
        """How much more often `spread: late` draws late steps; 0: all are equal. FlowBP has 1, with a bridge 4."""
        bridge: Annotated[float, Field(gt=0, le=1)] | None = None
        """alpha, the share of the gradient through the input of one step; FlowBP has 0.5; null: no bridge."""

        @model_validator(mode="after")
        def _bridge_is_late(self) -> Any:
            if self.bridge is not None and (self.spread != "late" or self.k == 1):
                raise ValueError("a bridge needs spread: late, and k of at least 2")
            return self

    options: Options

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        self._sizes(task.sampler.steps)

    def update_cost(self, steps: int, guided: int) -> Cost:
        executed = fmean(self._stops(steps)) + 1
        trained, reached = self._mean_trained(steps)
        graded = trained + (self.options.bridge is not None)
        return Cost(guided * (executed + graded), guided * graded, 1, reached)

    def _stops(self, steps: int) -> range:
        """The steps at which the rollout may stop, each as often."""
        _, m = self._sizes(steps)
        return range(steps - max(m, 1), steps)

    def _mean_trained(self, steps: int) -> tuple[float, float]:
        """The mean number of trained steps, and the share of the updates that have one."""
        k, _ = self._sizes(steps)
        if self.options.spread != "paper":
            return k, 1.0
        stride = steps // k
        trained = [
            sum(first + i * stride <= stop for i in range(k))
            for stop in self._stops(steps)
            for first in range(steps - (k - 1) * stride)
        ]
        return fmean(trained), fmean(n > 0 for n in trained)

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        trained, stop = self._steps(task.sampler.steps, batch.draws)
        losses, alpha = LossAccumulator(batch, calls=len(trained)), self.options.bridge
        rollout = linear_path(
            model,
            task,
            batch,
            losses,
            grad_steps=trained,
            stop=stop,
            loss_of=self.reward_loss,
            bridge=None if alpha is None else Bridge(self._anchor(stop, batch.draws), alpha),
        )
        return losses.log(rollout.reward, rollout.loss)

    def _steps(self, steps: int, draws: Draws) -> tuple[list[int], int]:
        """The trained steps, in order, and the step at which the rollout stops."""
        k, m = self._sizes(steps)
        stop = steps - draws.integers(1, m + 1, "stop") if m else steps - 1
        if self.options.spread == "late":
            return self._late(k, stop, draws), stop
        end = stop + 1 if self.options.spread == "prefix" else steps
        stride = end // k
        first = draws.integers(0, end - (k - 1) * stride, "first")
        return [i for i in range(first, first + k * stride, stride) if i <= stop], stop

    def _late(self, k: int, stop: int, draws: Draws) -> list[int]:
        """K of the executed steps, the later the more often; with a bridge, its step is one of them."""

        def drawn(among: range, n: int, what: str) -> list[int]:
            weights = [(position + 1) ** self.options.late for position in range(len(among))]
            return draws.distinct(among, n, what, weights=weights) if n else []

        if self.options.bridge is None:
            return drawn(range(stop + 1), k, "late")
        end, j = stop + 1, self._anchor(stop, draws)
        before = min(max(round(k * j / end), 1, k - (end - j)), j, k - 1)
        return [*drawn(range(j), before, "before"), j, *drawn(range(j + 1, end), k - before - 1, "after")]

    def _anchor(self, stop: int, draws: Draws) -> int:
        """The step of the bridge: the later of two different executed steps."""
        return draws.distinct(range(stop + 1), 2, "bridge")[1]

    def _sizes(self, steps: int) -> tuple[int, int]:
        """K and m for a sampler. Raises UserError where they do not fit it."""
        k, m = self.options.k, self.options.m
        k, m = max(round(0.1 * steps), 1) if k is None else k, round(0.4 * steps) if m is None else m
        shortest = steps if self.options.spread == "paper" else min(steps - m + 1, steps)
        if m > steps or k > shortest:
            raise UserError(
                f"drtune trains {k} steps and stops up to {m} before the end of a sampler that has {steps}",
                where="tuner.k, tuner.m",
                hint=f"choose k and m with k + m of at most {steps + 1}, or a sampler with more steps",
            )
        if self.options.bridge is not None and k < 2:
            raise UserError(
                "a bridge needs a trained step before it, and drtune trains one step",
                where="tuner.k",
                hint="set k to 2 or more",
            )
        return k, m
