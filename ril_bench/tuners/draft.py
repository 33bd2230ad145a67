"""DRaFT (arXiv 2309.17400): differentiate the reward through the sampler."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction
from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.tuners.base import Grading, Held, Log, Penalty, Task, Tuner, differentiable_reward
from ril_bench.tuners.chain import through_the_sampler
from ril_bench.tuners.linear import linear_path


class Draft(Tuner):
    """DRaFT-K: no gradient until the last K sampling steps, then the full chain; loss = -mean r(D(x_0)).

    DRaFT-LV lowers the variance of K = 1: the last step once more from n re-noised copies of its own x_0,

        x~ = sqrt(abar) sg(x_0) + sqrt(1 - abar) eps,    x_0~ = the last step from x~,

    whose losses are added to the first one's. [code/secondary; the paper's settings (lr 2e-4..4e-4, rank 8..32,
    weight decay 0.1, 50 steps, guidance 7.5) secondary]

    An update of N samples takes steps - K calls of the denoiser without gradient, K with gradient and their
    backward, one decoding and one call of the reward; each copy one more of the last three kinds. On the linear
    path, one more call without gradient.
    """

    class Options(Tuner.Options):
        #: last steps with gradient; full: all
        k: Annotated[int, Field(ge=1, strict=True)] | Literal["full"] = 1
        #: n of DRaFT-LV; the paper's is 2 [secondary]
        copies: Annotated[int, Field(ge=0, strict=True)] = 0
        #: chain: plain autograd. linear: for K = 1 the same gradient, with the graph of the denoiser and that of the
        #: decoder never held at once (tuners/linear.py) [ours]
        path: Literal["chain", "linear"] = "chain"

        @model_validator(mode="after")
        def _last_step_alone(self) -> Any:
            if self.k != 1 and (self.copies or self.path == "linear"):
                raise ValueError("copies (DRaFT-LV) and the linear path go with k: 1")
            return self

    options: Options
    needs = frozenset({"reward_gradient"})

    def _graded(self, task: Task) -> range:
        steps = task.sampler.steps
        k = steps if self.options.k == "full" else self.options.k
        if k > steps:
            raise UserError(
                f"draft differentiates through the last {k} steps of a sampler that has {steps}",
                where="tuner.k",
                hint=f'choose 1 to {steps}, or "full"',
            )
        return range(steps - k, steps)

    def holds(self, steps: int, guided: int) -> Held:
        k = steps if self.options.k == "full" else self.options.k
        return Held(k * guided, together=self.options.path == "chain")

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
        grading = Grading(penalty, len(graded) + self.options.copies, share)
        update = through_the_sampler if self.options.path == "chain" else linear_path
        outcome = update(model, prompts, task, draws, grading, graded=graded, loss_of=lambda reward: -reward)
        loss = outcome.loss
        for j in range(self.options.copies):
            loss += self._from_a_copy(model, prompts, task, draws.copy(j), grading, outcome.x0)
        return grading.log(outcome.reward, loss)

    def _from_a_copy(
        self,
        model: DiffusionModel,
        prompts: list[str],
        task: Task,
        draws: Draws,
        grading: Grading,
        x0: Tensor,
    ) -> float:
        """The last step from x0 noised anew, and its backward; its loss."""
        ddim, last = task.sampler, task.sampler.steps - 1
        noise, more = (
            draws.normal(what, shape=model.latent_shape).to(model.device) for what in ("copy", "step")
        )
        x = ddim.noised(x0, noise, last)
        eps = model.predict(x, ddim.timesteps[last], prompts, task.guidance)
        grading.see(Prediction(x, ddim.timesteps[last], last, list(prompts), task.guidance, eps, ddim))
        images = model.decode(ddim.step(x, eps, last, more if ddim.eta > 0 else None))
        loss = -differentiable_reward(task, images, prompts).mean()
        grading.backward(loss)
        return loss.item()
