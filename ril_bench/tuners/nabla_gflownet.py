"""nabla-GFlowNet (arXiv 2412.07775): match the scores of the sampler's steps to those of a tilted distribution."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import DDIM, Prediction
from ril_bench.draws import Draws
from ril_bench.tuners.base import Grading, Log, Penalty, Task, differentiable_reward
from ril_bench.tuners.nets import FlowNet
from ril_bench.tuners.rollouts import OnRollouts
from ril_bench.tuners.samples import spread


def forward_score(ddim: DDIM, i: int, x: Tensor, after: Tensor, eps: Tensor) -> Tensor:
    """S = grad_{x_s} log p(x_s | x_t) = -(x_s - mu(x_t)) / sigma^2 of step i."""
    return -(after - ddim.step(x, eps, i, None)) / ddim.sigma[i] ** 2


def log_transition(ddim: DDIM, i: int, x: Tensor, after: Tensor, eps: Tensor) -> Tensor:
    """log p(x_s | x_t) of step i, summed over the batch, less its constant; its slope by x_t is the score B."""
    return -(after - ddim.step(x, eps, i, None)).square().sum() / (2 * ddim.sigma[i] ** 2)


def noising_scores(ddim: DDIM, i: int, x: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """The slopes by x_s and by x_t of log P_B(x_t | x_s), the forward process from x_s back to what step i met."""
    kept = 1 / ddim.a[i]  # sqrt(abar_t / abar_s)
    off = (x - kept * after) / (1 - kept**2)
    return kept * off, -off


class NablaGflownet(OnRollouts):
    """nabla-DB: tune the sampler toward p_ref exp(beta r) rather than to the largest r. [code: lzzcd001/nabla-gfn]

    The forward-looking flow is g(x) = h_phi(x, t) + beta gamma_t sg grad_x r(D(x0hat(x))), h a net of the tuner's own
    and gamma_t = abar_t or its root, 1 at x_0. With S = grad_{x_s} log p_theta(x_s | x_t) and B its slope by x_t,

        L_F = mean [S - (eta_p S_ref + g(x_s))]^2                trains theta and phi
        L_B = mean [B - (eta_p B_ref - g(x_t))]^2                trains phi alone: B carries no graph, as in the release
        L_T = mean h(x_0)^2
        L   = L_F + w_B L_B + L_T + lambda mean (eps_theta - eps_old)^2

    over a transition from each of a few equal segments of the rollout, and the last one, whose target has no h.
    eps_old is the guided noise kept at sampling: the trust region acts from the second update of `reuse` on. grad r
    goes through the current guided denoiser, x0hat and the decoder. Not residual: the same with the scores of the
    forward process P_B in the place of eta_p S_ref and eta_p B_ref, and no model to be near.

    Published: 50 steps in 5 segments, eta 1, guidance 5, rank 8, lr 1e-3 for both nets, clip 1; beta / lambda:
    aesthetic 1e4 / 2e3, HPSv2 1e4 / 1e2 (later 5e3), ImageReward 1e3 / 1e3 (later 5e3) [code]. beta is in the
    reward's own unit. The release also scales B by eta_p, which makes no difference at 1, and leaves the last
    transition out of L_B [code]; here it is in [ours]. Of its faults, none is carried over: it takes the last sampled
    batch's prompts for every sample, makes two optimizer steps an update, and has a DPM-solver path that cannot run.

    An update of N samples and n transitions takes T calls of the denoiser without gradient (once in `reuse`), n with
    gradient, and n - 1 with gradient to the latents, n with the flow's L_B; of the reference n, with gradient to the
    latents for L_B; n decodings and reward calls with gradient, 2n with L_B. The flow net's own calls are not counted.
    """

    class Options(OnRollouts.Options):
        #: of the target, in units of 1 / reward
        beta: Annotated[float, Field(gt=0)] = 1e4
        #: gamma_t: how far the reward of x0hat is believed at noise t
        gamma: Literal["abar", "root"] = "abar"
        #: eta_p, the strength of the prior; p_ref is the `reference`
        prior: Annotated[float, Field(ge=0)] = 1.0
        #: against p_ref; false: the plain nabla-DB, with P_B
        residual: bool = True
        #: false: h = 0 and w_B = 0
        flow: bool = True
        #: channels of the flow net
        width: Annotated[int, Field(ge=4, multiple_of=4, strict=True)] = 16
        #: what a transition's residuals are squared in. score: as published, where the last steps, of little variance,
        #: outweigh all others [code]; noise: times sigma^2 / b, in units of eps, which asks for the same and weighs
        #: every step alike [ours]
        units: Literal["score", "noise"] = "score"
        #: w_B
        backward: Annotated[float, Field(ge=0)] = 1.0
        #: lambda
        trust: Annotated[float, Field(ge=0)] = 2e3
        #: of the rollout: one transition is drawn from each
        segments: Annotated[int, Field(ge=1, strict=True)] = 5

    options: Options
    needs = frozenset({"reward_gradient"})

    def own_net(self, model: DiffusionModel) -> nn.Module | None:
        return FlowNet(model, self.options.width) if self.options.flow else None

    def accumulate(
        self,
        model: DiffusionModel,
        prompts: list[str],
        task: Task,
        penalty: Penalty | None,
        draws: Draws,
        share: float,
    ) -> Log:
        prompts, (path,) = self._kept.trajectories(model, task, prompts, draws, 1)
        ddim, last = task.sampler, task.sampler.steps - 1
        chosen = [*spread(last, min(self.options.segments, last), draws, "transition"), last]
        grading, n, losses = Grading(penalty, len(chosen), share), len(chosen), []
        for i in chosen:
            x, after, t = path.x[i], path.x[i + 1], ddim.timesteps[i]
            score, backward_score = self._prior_scores(model, task, prompts, x, after, i)
            target = score + self._pull(model, task, prompts, after, i + 1)
            if self._net is not None and i < last:
                target = target + self._net(after, ddim.timesteps[i + 1], model.embed(prompts))
            eps = model.predict(x, t, prompts, task.guidance)
            grading.see(Prediction(x, t, i, prompts, task.guidance, eps, ddim))
            forward = self._weight(ddim, i) * (forward_score(ddim, i, x, after, eps) - target).square().mean()
            trust = self.options.trust * (eps - path.eps[i]).square().mean()
            losses.append((forward + trust) / n)
            grading.backward(losses[-1])
            if self._net is not None and backward_score is not None:
                # B + beta gamma grad r is one slope of one graph
                slope = self._pull(model, task, prompts, x, i, after)
                off = slope - backward_score + self._net(x, t, model.embed(prompts))
                backward = self._weight(ddim, i) * off.square().mean()
                losses.append(self.options.backward * backward / n)
                grading.backward(losses[-1])
        if self._net is not None:
            at_the_end = self._net(path.x[-1], 0, model.embed(prompts))
            losses.append(self._weight(ddim, last) * at_the_end.square().mean())
            grading.backward(losses[-1])
        return grading.log(path.reward.mean().item(), sum(loss.item() for loss in losses))

    def _weight(self, ddim: DDIM, i: int) -> float:
        """Of what is squared at step i."""
        return 1.0 if self.options.units == "score" else (ddim.sigma[i] ** 2 / ddim.b[i]) ** 2

    def _believed(self, ddim: DDIM, i: int) -> float:
        """beta gamma of what step i meets."""
        if i == ddim.steps:
            return self.options.beta
        bar = float(ddim.alphas_cumprod[ddim.timesteps[i]])
        return self.options.beta * (bar if self.options.gamma == "abar" else math.sqrt(bar))

    def _pull(
        self,
        model: DiffusionModel,
        task: Task,
        prompts: list[str],
        x: Tensor,
        i: int,
        after: Tensor | None = None,
    ) -> Tensor:
        """beta gamma grad_x r(D(x0hat(x))) at what step i meets; with `after`, the score B is added to it."""
        ddim = task.sampler
        with model.folded(), torch.enable_grad():
            x = x.clone().requires_grad_()
            if i == ddim.steps:
                goal, x0 = x.new_zeros(()), x
            else:
                eps = model.predict(x, ddim.timesteps[i], prompts, task.guidance)
                x0 = ddim.x0hat(x, eps, i)
                goal = x.new_zeros(()) if after is None else log_transition(ddim, i, x, after, eps)
            reward = differentiable_reward(task, model.decode(x0), prompts)
            return torch.autograd.grad(goal + self._believed(ddim, i) * reward.sum(), x)[0]

    def _prior_scores(
        self, model: DiffusionModel, task: Task, prompts: list[str], x: Tensor, after: Tensor, i: int
    ) -> tuple[Tensor, Tensor | None]:
        """What S and B are held against at step i: eta_p S_ref and eta_p B_ref, or the forward process's.

        The second is None where nothing asks for it.
        """
        ddim, wanted = task.sampler, self._net is not None and self.options.backward > 0
        if not self.options.residual:
            by_after, by_x = noising_scores(ddim, i, x, after)
            return by_after, by_x if wanted else None
        slope = None
        with self._reference.in_force(model), torch.set_grad_enabled(wanted):
            met = x.clone().requires_grad_(wanted)
            eps = model.predict(met, ddim.timesteps[i], prompts, task.guidance)
            if wanted:
                (slope,) = torch.autograd.grad(log_transition(ddim, i, met, after, eps), met)
                slope = self.options.prior * slope
        return self.options.prior * forward_score(ddim, i, x, after, eps.detach()), slope
