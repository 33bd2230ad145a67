"""DRaFT (arXiv 2309.17400): differentiate the reward through the sampler."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import latent_noise, predict_step
from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.tuners.base import (
    Cost,
    Log,
    LossAccumulator,
    MicroBatch,
    OpenGraphs,
    RewardGradientTuner,
    Task,
    differentiable_reward,
)
from ril_bench.tuners.chain import chain_path
from ril_bench.tuners.linear import linear_path


class Draft(RewardGradientTuner):
    """DRaFT-K: sample without gradient until the last K steps, then along the full chain; loss = -mean r(D(x_0)).

    With a `cap`, the loss is mean relu(cap - r) [ours].

    DRaFT-LV (`copies` above 0) lowers the variance of K = 1. It repeats the last step from n re-noised copies of x_0,

        x~ = signal sg(x_0) + level noise,    x_0~ = the last step from x~,

    and adds the losses of the copies to the first loss. [code/secondary; the paper's settings are secondary: lr
    2e-4..4e-4, rank 8..32, weight decay 0.1, 50 steps, guidance 7.5]

    Cost: an update of N samples takes steps - K calls of the denoiser without gradient, K calls with gradient and
    their backward, one decoding and one call of the reward. Each copy adds one more call with
    gradient and its backward, decoding and call of the reward. The linear path adds one more call without gradient.
    """

    class Options(RewardGradientTuner.Options):
        k: Annotated[int, Field(ge=1, strict=True)] | Literal["full"] = 1
        """K, the number of last steps with gradient; full: all steps."""
        copies: Annotated[int, Field(ge=0, strict=True)] = 0
        """n of DRaFT-LV; the paper has 2 [secondary]."""
        path: Literal["chain", "linear"] = "chain"
        """chain: plain autograd. linear: for K = 1 the same gradient, without keeping the graphs of the
        denoiser and of the decoder at the same time (tuners/linear.py) [ours]."""

        @model_validator(mode="after")
        def _only_with_k_1(self) -> Any:
            if self.k != 1 and (self.copies or self.path == "linear"):
                raise ValueError("copies (DRaFT-LV) and the linear path need k: 1")
            return self

    options: Options

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        if (k := self._k(task.sampler.steps)) > task.sampler.steps:
            raise UserError(
                f"draft differentiates through the last {k} steps of a sampler that has {task.sampler.steps}",
                where="tuner.k",
                hint=f'choose 1 to {task.sampler.steps}, or "full"',
            )

    def open_graphs(self, steps: int, guided: int) -> OpenGraphs:
        return OpenGraphs(self._k(steps) * guided, together=self.options.path == "chain")

    def update_cost(self, steps: int, guided: int) -> Cost:
        copies, again = self.options.copies, self.options.path == "linear"
        graded = guided * (self._k(steps) + copies)
        return Cost(guided * (steps + again + copies), graded, 1 + copies, 1 + copies)

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        steps, k = task.sampler.steps, self._k(task.sampler.steps)
        losses = LossAccumulator(batch, calls=k + self.options.copies)
        path = chain_path if self.options.path == "chain" else linear_path
        rollout = path(
            model, task, batch, losses, grad_steps=range(steps - k, steps), loss_of=self.reward_loss
        )
        loss = rollout.loss
        for j in range(self.options.copies):
            loss += self._copy_loss(model, task, batch.prompts, batch.draws.copy(j), losses, rollout.x0)
        return losses.log(rollout.reward, loss)

    def _k(self, steps: int) -> int:
        return steps if self.options.k == "full" else self.options.k

    def _copy_loss(
        self,
        model: DiffusionModel,
        task: Task,
        prompts: list[str],
        draws: Draws,
        losses: LossAccumulator,
        x0: Tensor,
    ) -> float:
        """Repeats the last step from a re-noised x0, and back-propagates its loss; returns the loss."""
        sampler, last = task.sampler, task.sampler.steps - 1
        x = sampler.noised(x0, latent_noise(model, draws, "copy"), last)
        prediction = predict_step(model, sampler, x, last, prompts, task.guidance)
        losses.penalise(prediction)
        step_noise = latent_noise(model, draws, "step") if sampler.sigma[last] > 0 else None
        images = model.decode(sampler.step(x, prediction.output, last, step_noise))
        loss = self.reward_loss(differentiable_reward(task, images, prompts)).mean()
        losses.backward(loss)
        return loss.item()
