"""nabla-GFlowNet (arXiv 2412.07775): match the scores of the sampler's steps to those of a tilted distribution."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import predict_step
from ril_bench.diffusion.steps import Sampler
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
from ril_bench.tuners.nets import FlowNet
from ril_bench.tuners.rollouts import RolloutTuner
from ril_bench.tuners.samples import stratified_steps


def forward_score(sampler: Sampler, i: int, x: Tensor, after: Tensor, out: Tensor) -> Tensor:
    """S = grad_{x_s} log p(x_s | x_t) = -(x_s - mu(x_t)) / sigma^2 of step i."""
    return -(after - sampler.step(x, out, i, None)) / sampler.sigma[i] ** 2


def log_transition(sampler: Sampler, i: int, x: Tensor, after: Tensor, out: Tensor) -> Tensor:
    """log p(x_s | x_t) of step i, summed over the batch, without its constant; its gradient by x_t is the score B."""
    return -(after - sampler.step(x, out, i, None)).square().sum() / (2 * sampler.sigma[i] ** 2)


def noising_scores(sampler: Sampler, i: int, x: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients by x_s and by x_t of log P_B(x_t | x_s), the forward process from after to before step i."""
    kept = sampler.signal[i] / sampler.signal[i + 1]
    off = (x - kept * after) / (sampler.level[i] ** 2 - (kept * sampler.level[i + 1]) ** 2)
    return kept * off, -off


class NablaGflownet(RolloutTuner, RewardGradientTuner):
    """nabla-DB: tune the sampler toward p_ref exp(beta r) rather than to the largest r. [code: lzzcd001/nabla-gfn]

    The forward-looking flow is g(x) = h_phi(x, t) + beta gamma_t sg grad_x r(D(x0hat(x))). h is a network of the
    tuner; gamma_t is abar_t, the square of the signal in x_t, or its root, and 1 at x_0. With S = grad_{x_s} log
    p_theta(x_s | x_t) and B the gradient of the same by x_t,

        L_F = mean [S - (eta_p S_ref + g(x_s))]^2                trains theta and phi
        L_B = mean [B - (eta_p B_ref - g(x_t))]^2                trains phi alone: B carries no graph, as in the release
        L_T = mean h(x_0)^2
        L   = L_F + w_B L_B + L_T + lambda mean (out_theta - out_old)^2

    over one transition from each of a few equal segments of the rollout, and the last transition, whose target has no
    h. out_old is the denoiser's output at sampling, so the trust region acts from the second update of `reuse` on.
    grad r goes through the current guided denoiser, x0hat and the decoder. With a `cap` it is 0 where r exceeds the cap
    [ours]. With `residual: false`, the scores of the forward process P_B replace eta_p S_ref and eta_p B_ref, and no
    reference model is needed.

    Published: 50 steps in 5 segments, eta 1, guidance 5, rank 8, lr 1e-3 for both networks, clip 1; beta / lambda:
    aesthetic 1e4 / 2e3, HPSv2 1e4 / 1e2 (later 5e3), ImageReward 1e3 / 1e3 (later 5e3) [code]. There beta is in
    1 / the reward's own unit, which the presets keep (`unit: 1.0`); here r is in sigma, so beta is in 1 / sigma [ours].
    The release also scales B by eta_p, which makes no difference at 1, and leaves the last transition out of L_B
    [code]; here L_B includes it [ours]. Three faults of the release are not repeated: it takes the last sampled batch's
    prompts for every sample, takes two optimizer steps in each update, and has a DPM-solver path that cannot run.

    Cost: an update of N samples and n transitions takes T calls of the denoiser without gradient (once in `reuse`
    updates), n with gradient, n - 1 with gradient to the latents for L_F, and n more with gradient to the latents for
    L_B; n calls of the reference, with gradient to the latents for L_B; n decodings and reward calls with gradient, 2n
    with L_B. The calls of the flow network are not counted.
    """

    class Options(RolloutTuner.Options, RewardGradientTuner.Options):
        beta: Annotated[float, Field(gt=0)] = 1e4
        """beta of the target p_ref exp(beta r), in 1 / sigma."""
        gamma: Literal["abar", "root"] = "abar"
        """gamma_t, the weight of the reward of x0hat at noise t."""
        prior: Annotated[float, Field(ge=0)] = 1.0
        """eta_p, the strength of the prior; p_ref is the `reference`."""
        residual: bool = True
        """true: the target is relative to p_ref; false: the plain nabla-DB, with P_B."""
        flow: bool = True
        """Whether there is a flow network; false: h = 0 and w_B = 0."""
        width: Annotated[int, Field(ge=4, multiple_of=4, strict=True)] = 16
        """Channels of the flow network."""
        units: Literal["score", "noise"] = "score"
        """The unit in which a transition's residuals are squared. score: as published; the last steps, whose
        variance is small, then outweigh all others [code]. noise: times sigma^2 / b, in units of the
        denoiser's output; the solution is the same, and all steps have the same weight [ours]."""
        backward: Annotated[float, Field(ge=0)] = 1.0
        """w_B, the weight of L_B."""
        trust: Annotated[float, Field(ge=0)] = 2e3
        """lambda, the weight of the trust region."""
        segments: Annotated[int, Field(ge=1, strict=True)] = 5
        """Segments of the rollout; one transition is drawn from each."""

    options: Options
    needs = frozenset({"reward_gradient", "random_steps"})

    def auxiliary_net(self, model: DiffusionModel) -> nn.Module | None:
        return FlowNet(model, self.options.width) if self.options.flow else None

    def open_graphs(self, steps: int, guided: int) -> OpenGraphs:
        # grad_x r goes through denoiser, decoder and reward.
        return OpenGraphs(guided, together=True)

    def update_cost(self, steps: int, guided: int) -> Cost:
        n = min(self.options.segments, steps - 1) + 1
        reference, backward = n * self.options.residual, n * self._trains_backward
        prior = Cost(reference, reference if self._trains_backward else 0)
        # the prediction; the slopes of L_F, where the last transition ends at x_0, and of L_B
        own = Cost(2 * n - 1 + backward, 2 * n - 1 + backward)
        predictions = guided * (prior + own)
        return self.rollouts_cost(steps, guided) + predictions + Cost(0, 0, n + backward, n + backward)

    @property
    def _trains_backward(self) -> bool:
        """Whether there is L_B."""
        return self.options.flow and self.options.backward > 0

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        batch, (path,) = self.trajectories(model, task, batch)
        sampler, prompts, last = task.sampler, batch.prompts, task.sampler.steps - 1
        segments = min(self.options.segments, last)
        transitions = [*stratified_steps(last, segments, batch.draws, "transition"), last]
        losses, parts, n = LossAccumulator(batch, calls=len(transitions)), [], len(transitions)
        for i in transitions:
            x, after, t = path.x[i], path.x[i + 1], sampler.timesteps[i]
            score, backward_score = self._prior_scores(model, task, prompts, x, after, i)
            target = score + self._reward_slope(model, task, prompts, after, i + 1)
            if self._net is not None and i < last:
                target = target + self._net(after, sampler.timesteps[i + 1], model.embed(prompts))
            prediction = predict_step(model, sampler, x, i, prompts, task.guidance)
            losses.penalise(prediction)
            residual = forward_score(sampler, i, x, after, prediction.output) - target
            forward = self._weight(sampler, i) * residual.square().mean()
            trust = self.options.trust * (prediction.output - path.outputs[i]).square().mean()
            parts.append((forward + trust) / n)
            losses.backward(parts[-1])
            if self._net is not None and backward_score is not None:
                # B + beta gamma grad r is one gradient through one graph.
                slope = self._reward_slope(model, task, prompts, x, i, after)
                residual = slope - backward_score + self._net(x, t, model.embed(prompts))
                backward = self._weight(sampler, i) * residual.square().mean()
                parts.append(self.options.backward * backward / n)
                losses.backward(parts[-1])
        if self._net is not None:
            at_the_end = self._net(path.x[-1], 0, model.embed(prompts))
            # The release divides this by n too [code]; it moves the network h alone [ours].
            parts.append(self._weight(sampler, last) * at_the_end.square().mean())
            losses.backward(parts[-1])
        return losses.log(path.reward.mean().item(), sum(part.item() for part in parts))

    def _weight(self, sampler: Sampler, i: int) -> float:
        """The weight of the squared residual at step i."""
        return 1.0 if self.options.units == "score" else (sampler.sigma[i] ** 2 / sampler.b[i]) ** 2

    def _beta_gamma(self, sampler: Sampler, i: int) -> float:
        """beta gamma_t at the latents before step i; i = T is x_0."""
        if i == sampler.steps:
            return self.options.beta
        return self.options.beta * sampler.signal[i] ** (2 if self.options.gamma == "abar" else 1)

    def _reward_slope(
        self,
        model: DiffusionModel,
        task: Task,
        prompts: list[str],
        x: Tensor,
        i: int,
        after: Tensor | None = None,
    ) -> Tensor:
        """beta gamma_t grad_x r(D(x0hat(x))) at the latents x before step i; with `after`, plus the score B."""
        sampler = task.sampler
        with model.folded(), torch.enable_grad():
            x = x.clone().requires_grad_()
            if i == sampler.steps:
                log_p, x0 = x.new_zeros(()), x
            else:
                out = model.predict(x, sampler.timesteps[i], prompts, task.guidance)
                x0 = sampler.x0hat(x, out, i)
                log_p = x.new_zeros(()) if after is None else log_transition(sampler, i, x, after, out)
            reward = differentiable_reward(task, model.decode(x0), prompts)
            loss = self.reward_loss(reward).sum()
            return torch.autograd.grad(log_p - self._beta_gamma(sampler, i) * loss, x)[0]

    def _prior_scores(
        self, model: DiffusionModel, task: Task, prompts: list[str], x: Tensor, after: Tensor, i: int
    ) -> tuple[Tensor, Tensor | None]:
        """eta_p S_ref and eta_p B_ref at step i, or the scores of the forward process.

        The second is None where L_B is not needed.
        """
        sampler, with_backward = task.sampler, self._trains_backward
        if not self.options.residual:
            by_after, by_x = noising_scores(sampler, i, x, after)
            return by_after, by_x if with_backward else None
        backward_score = None
        with self._reference.loaded(model), torch.set_grad_enabled(with_backward):
            x = x.clone().requires_grad_(with_backward)
            out = model.predict(x, sampler.timesteps[i], prompts, task.guidance)
            if with_backward:
                (slope,) = torch.autograd.grad(log_transition(sampler, i, x, after, out), x)
                backward_score = self.options.prior * slope
        return self.options.prior * forward_score(sampler, i, x.detach(), after, out.detach()), backward_score
