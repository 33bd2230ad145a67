"""Adjoint Matching (arXiv 2409.08861): regress the model onto the reward's gradient, carried back by the base model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction, predict_step, sample
from ril_bench.diffusion.steps import Sampler
from ril_bench.draws import Draws, Key
from ril_bench.machine.parallel import team
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
from ril_bench.tuners.reference import ReferenceModel, ReferenceName

EARLY = 0.6  # half of the trained steps are drawn from this first part of the rollout [code]
THRESHOLD_DECAY = 0.9  # of the moving threshold [code]


class AdjointMatching(RewardGradientTuner):
    """Adjoint Matching: tune the sampler toward p_base exp(beta r), with gradients of the base model alone.

        a_T = -beta grad_x r(D(x_0)),       a_i = grad_{x_i} <mu_base(x_i), a_{i+1}>
        L = mean |(mu_theta - mu_base)(x_i) / sigma_i + sigma_i a_{i+1}|^2

    over K steps i of a rollout of the model; |.|^2 is a mean over elements, and mu the mean of a step. a is a
    vector-Jacobian product of the base model, which is never trained, so it carries no graph. Half of the K steps come
    from the first 60% of the rollout [code: microsoft/soc-fine-tuning-sd]. The release takes a_i at step i. a_{i+1},
    the adjoint of the latents that step i leads to, is exact for steps of any size [ours]. `units: noise` measures the
    residual in units of the denoiser's output, as nabla_gflownet does: the solution is the same.

    eta must be 1: x_0 then does not depend on the first noise, and the solution has no bias from it. Guidance is used
    in the rollouts alone, as in the release: with guidance the adjoint's norm explodes [code]. The release also trains
    the prediction without a prompt, in one update of five; here every update trains the prompt's [ours].

    An image and step whose loss is above a moving 90th percentile has no gradient [code]. The percentile is that of
    earlier updates, so an update does not depend on its micro-batches [ours].

    Published on SD 1.5: 50 steps, guidance 7.5, K 4, beta 1 to 100 on ImageReward's scale, lr 3e-6 for the full UNet,
    125 images an update [code].

    Cost: an update of N prompts takes T calls of the denoiser without gradient, one decoding and one reward call.
    Without guidance, for the earliest trained step i, it takes T - 1 - i calls of the base model with gradient to the
    latents and one without gradient, and K calls with gradient. One graph is open at a time, and the latents of all
    steps are kept: the memory is that of drtune for any K.
    """

    class Options(RewardGradientTuner.Options):
        beta: Annotated[float, Field(gt=0)] = 10.0
        """beta of the target p_base exp(beta r), in units of 1 / sigma. A score that is normally distributed over the
        base model's images has gained beta sigma at the solution; the papers stop far before it."""
        steps: Annotated[int, Field(ge=1, strict=True)] = 4
        """K, the number of trained steps."""
        quantile: Annotated[float, Field(gt=0, lt=1)] | None = 0.9
        """Losses above this moving quantile are left out; null: none is."""
        reference: ReferenceName = "previous"
        """The base model; the paper has one task, where both names mean the same model."""
        units: Literal["control", "noise"] = "control"
        """The unit of the residual. control: as published [code]; noise: times sigma / b, in units of the denoiser's
        output [ours]."""

    options: Options
    needs = frozenset({"reward_gradient", "memoryless_steps"})

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        self._base = ReferenceModel(model, self.options.reference)
        self._threshold: float | None = None  # of the roots of the losses; None before the first update
        self._roots: dict[tuple[Key, int], float] = {}  # of this update, by sample and step

    def open_graphs(self, steps: int, guided: int) -> OpenGraphs:
        return OpenGraphs(1, together=False)

    def update_cost(self, steps: int, guided: int) -> Cost:
        early, first, late = self._numbers(steps)
        # the mean of the smallest of n different integers of 0..N-1 is (N - n) / (n + 1)
        earliest = (early - first) / (first + 1) if first else early + (steps - early - late) / (late + 1)
        carried, trained = steps - earliest, first + late
        return Cost(guided * steps + carried + trained, carried - 1 + trained, 1, 1)

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        sampler, prompts = task.sampler, batch.prompts
        trained = self._steps(sampler.steps, batch.draws)
        path: list[Tensor] = []
        with torch.no_grad():
            x0 = sample(
                model,
                sampler,
                prompts,
                batch.draws,
                guidance=task.guidance,
                on_step=lambda prediction: path.append(prediction.x_t),
            )
        adjoint, reward = self._reward_adjoint(model, task, prompts, x0)
        adjoints, base = self._adjoints(model, sampler, prompts, path, adjoint, trained)
        losses, total = LossAccumulator(batch, calls=len(trained)), 0.0
        for i in trained:
            prediction = predict_step(model, sampler, path[i], i, prompts, guidance=1.0)
            losses.penalise(prediction)
            loss = self._matched(batch, prediction, base[i], adjoints[i]) / len(trained)
            losses.backward(loss)
            total += loss.item()
        return losses.log(reward, total)

    def _steps(self, steps: int, draws: Draws) -> list[int]:
        """The trained steps, in order."""
        early, first, late = self._numbers(steps)
        return draws.distinct(range(early), first, "early") + draws.distinct(
            range(early, steps), late, "late"
        )

    def _numbers(self, steps: int) -> tuple[int, int, int]:
        """The number of early steps, and how many of them and of the others are trained."""
        k, early = min(self.options.steps, steps), round(EARLY * steps)
        first = min(max(k // 2, k - (steps - early)), early)
        return early, first, k - first

    def _reward_adjoint(
        self, model: DiffusionModel, task: Task, prompts: list[str], x0: Tensor
    ) -> tuple[Tensor, float]:
        """-beta grad_x r(D(x_0)), and the mean reward."""
        with torch.enable_grad():
            x0 = x0.clone().requires_grad_()
            reward = differentiable_reward(task, model.decode(x0), prompts)
            loss = self.options.beta * self.reward_loss(reward).sum()
            return torch.autograd.grad(loss, x0)[0], reward.mean().item()

    def _adjoints(
        self,
        model: DiffusionModel,
        sampler: Sampler,
        prompts: list[str],
        path: Sequence[Tensor],
        adjoint: Tensor,
        trained: Sequence[int],
    ) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """The adjoint of the latents after each trained step, and the base model's output at the step."""
        adjoints, base = {}, {}
        with self._base.loaded(model):
            for i in reversed(range(trained[0], sampler.steps)):
                adjoints[i] = adjoint
                carried = i > trained[0]
                with torch.set_grad_enabled(carried):
                    x = path[i].clone().requires_grad_(carried)
                    out = model.predict(x, sampler.timesteps[i], prompts, 1.0)
                    if carried:
                        (adjoint,) = torch.autograd.grad((sampler.step(x, out, i, None) * adjoint).sum(), x)
                base[i] = out.detach()
        return {i: adjoints[i] for i in trained}, {i: base[i] for i in trained}

    def _matched(self, batch: MicroBatch, prediction: Prediction, base: Tensor, adjoint: Tensor) -> Tensor:
        """The mean loss of one step over the images whose loss is below the threshold."""
        b, sigma = prediction.sampler.b[prediction.step], prediction.sampler.sigma[prediction.step]
        control = b / sigma * (prediction.output - base) + sigma * adjoint
        scale = 1.0 if self.options.units == "control" else sigma / b
        matched, i = (scale * control).square().mean((1, 2, 3)), prediction.step
        roots = matched.detach().sqrt()
        self._roots |= {(key, i): root for key, root in zip(batch.draws.samples, roots.tolist(), strict=True)}
        return (matched if self._threshold is None else matched * (roots < self._threshold)).mean()

    def after_update(self, model: DiffusionModel) -> None:
        roots = sorted(root for own in team().gathered(lambda: [*self._roots.values()]) for root in own)
        self._roots = {}
        if self.options.quantile is not None:
            new = torch.tensor(roots, dtype=torch.float64).quantile(self.options.quantile).item()
            old = new if self._threshold is None else self._threshold
            self._threshold = THRESHOLD_DECAY * old + (1 - THRESHOLD_DECAY) * new

    def state_dict(self) -> dict[str, Any]:
        return {"base": self._base.lora, "threshold": self._threshold}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._base.lora, self._threshold = dict(state["base"]), state["threshold"]
