"""DDPO (arXiv 2305.13301): policy gradient on the sampler's own steps; with DPOK's (arXiv 2305.16381) two additions."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import DDIM, Prediction
from ril_bench.draws import Draws
from ril_bench.tuners.base import Grading, Log, Penalty, Task
from ril_bench.tuners.nets import ValueNet
from ril_bench.tuners.rollouts import OnRollouts
from ril_bench.tuners.samples import spread

CLIP_ADVANTAGE = 5.0  # [code]


def log_probability(ddim: DDIM, i: int, x: Tensor, after: Tensor, eps: Tensor) -> Tensor:
    """log p(x_s | x_t) of step i, (N,), averaged over the latent's elements [code], less its constant."""
    mean = ddim.step(x, eps, i, None)
    return -((after - mean).square() / (2 * ddim.sigma[i] ** 2)).mean((1, 2, 3))


def advantages(rewards: Tensor) -> Tensor:
    """Rewards (copies, N), normalised within each prompt and clipped at +-5; 0 where all scored the same. [code]"""
    spread_of = rewards.std(0, correction=0)
    return ((rewards - rewards.mean(0)) / (spread_of + 1e-8)).clamp(-CLIP_ADVANTAGE, CLIP_ADVANTAGE)


def clipped_loss(advantage: Tensor, ratio: Tensor, clip: float) -> Tensor:
    """max(-A rho, -A clip(rho, 1 - clip, 1 + clip)), (N,). [code]"""
    return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip))


class Ddpo(OnRollouts):
    """DDPO: each sampling step is an action, rewarded by what the finished image scores.

        loss = mean max(-A rho, -A clip(rho, 1 +- c)),    rho = p_theta(x_s | x_t) / p_sampled(x_s | x_t)

    over copies and steps. A is normalised over the copies of a prompt and clipped at 5, log p averaged over latent
    dimensions, c = 1e-4, eta 1 [code]. DDPO's running statistics over the last 32 images of a prompt are left out:
    an update must not depend on which prompts came before [ours]. DPOK's additions are `value`, a net V(x_t, t, c)
    whose estimate is taken off the advantage, and `kappa`, kappa mean (eps_theta - eps_ref)^2 [code]; V estimates the
    normalised reward, whose scale no reward changes [ours].

    With `reuse`, the same images serve several updates: the gradient is REINFORCE's in the first, then rho leaves 1.
    It needs no gradient of the reward. An update of N prompts takes samples x T calls of the denoiser without gradient,
    a decoding and a reward call for each of the `samples` (all this once in `reuse` updates), and samples x steps calls
    with gradient; with kappa, as many of the reference without.
    """

    class Options(OnRollouts.Options):
        #: images of each prompt
        samples: Annotated[int, Field(ge=2, strict=True)] = 4
        #: trained steps of each rollout, one from each of equal segments; null: all [code]
        steps: Annotated[int, Field(ge=1, strict=True)] | None = None
        #: c, of the ratio
        clip: Annotated[float, Field(gt=0)] = 1e-4
        #: DPOK's baseline beside the prompt's own mean
        value: bool = False
        #: width of its two layers
        width: Annotated[int, Field(ge=1, strict=True)] = 128
        #: DPOK's weight of the prior, the `reference`; theirs is the pretrained model
        kappa: Annotated[float, Field(ge=0)] = 0.0

    options: Options
    needs = frozenset({"reward"})

    def own_net(self, model: DiffusionModel) -> nn.Module | None:
        return ValueNet(model, self.options.width) if self.options.value else None

    def accumulate(
        self,
        model: DiffusionModel,
        prompts: list[str],
        task: Task,
        penalty: Penalty | None,
        draws: Draws,
        share: float,
    ) -> Log:
        prompts, made = self._kept.trajectories(model, task, prompts, draws, self.options.samples)
        rewards = torch.stack([one.reward for one in made])
        normalised = advantages(rewards)
        ddim, n = task.sampler, min(self.options.steps or task.sampler.steps, task.sampler.steps)
        grading, total = Grading(penalty, n * len(made), share), 0.0
        for i in spread(ddim.steps, n, draws, "trained"):
            for one, advantage in zip(made, normalised, strict=True):
                x, t = one.x[i], ddim.timesteps[i]
                eps = model.predict(x, t, prompts, task.guidance)
                grading.see(Prediction(x, t, i, prompts, task.guidance, eps, ddim))
                sampled = log_probability(ddim, i, x, one.x[i + 1], one.eps[i])
                ratio = (log_probability(ddim, i, x, one.x[i + 1], eps) - sampled).exp()
                loss = self._loss(model, task, prompts, x, i, eps, advantage, ratio) / (n * len(made))
                grading.backward(loss)
                total += loss.item()
        return grading.log(rewards.mean().item(), total)

    def _loss(
        self,
        model: DiffusionModel,
        task: Task,
        prompts: list[str],
        x: Tensor,
        i: int,
        eps: Tensor,
        advantage: Tensor,
        ratio: Tensor,
    ) -> Tensor:
        """The mean loss of step i of one copy, with what DPOK adds."""
        t, more = task.sampler.timesteps[i], torch.zeros(())
        if self._net is not None:
            value = self._net(x, t, model.embed(prompts))
            more = more + (value - advantage).square().mean()
            advantage = (advantage - value.detach()).clamp(-CLIP_ADVANTAGE, CLIP_ADVANTAGE)
        if self.options.kappa:
            with torch.no_grad(), self._reference.in_force(model):
                prior = model.predict(x, t, prompts, task.guidance)
            more = more + self.options.kappa * (eps - prior).square().mean()
        return clipped_loss(advantage, ratio, self.options.clip).mean() + more
