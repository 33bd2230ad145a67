"""Tuners that learn from pairs of a better and a worse image: Diffusion-DPO and SPIN-Diffusion."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import latent_noise, predict_step
from ril_bench.tuners.base import Cost, Log, LossAccumulator, MicroBatch, OpenGraphs, Task, Tuner
from ril_bench.tuners.reference import ReferenceModel
from ril_bench.tuners.samples import stratified_steps


def pair_loss(errors: Tensor, reference_errors: Tensor, beta: float) -> Tensor:
    """-log sigmoid(-beta/2 [(m_w - m_l) - (ref_w - ref_l)]), (N,), of errors (2N,), the winners' first. [code]

    An error is that of the denoiser's output: the mean square over a latent's elements. A sum would saturate the
    sigmoid at the published betas.
    """
    (won, lost), (ref_won, ref_lost) = errors.chunk(2), reference_errors.chunk(2)
    return -F.logsigmoid(-beta / 2 * ((won - lost) - (ref_won - ref_lost)))


class PairTuner(Tuner):
    """A tuner whose loss compares two images of each prompt, a winner and a loser, with a reference model."""

    class Options(Tuner.Options):
        noises: Annotated[int, Field(ge=1, strict=True)] = 4
        """Noised versions of each pair in an update."""

    options: Options

    def open_graphs(self, steps: int, guided: int) -> OpenGraphs:
        return OpenGraphs(2, together=False)  # a winner and a loser, without guidance

    def pairs_cost(self, steps: int) -> Cost:
        """What `learn_pairs` costs for each prompt: the reference and the model predict both images of the pair."""
        predictions = 2 * min(self.options.noises, steps)
        return Cost(2 * predictions, predictions)

    def learn_pairs(
        self,
        model: DiffusionModel,
        task: Task,
        batch: MicroBatch,
        *,
        winners: Tensor,
        losers: Tensor,
        reference: ReferenceModel,
        beta: float,
        reward: float,
        weights: Tensor | None = None,
    ) -> Log:
        """Back-propagates the mean pair loss of latents (N, C, h, w) over `noises` draws of (t, noise).

        Both images of a pair get the same noise [code]; all pairs of the batch get the same t. A draw takes one call
        of the denoiser on 2N latents with gradient and one of the reference without.

        Args:
            reward: the mean reward of the images, for the log.
            weights: (N,), multiplied with each pair's loss; 1 by default.
        """
        sampler, noises = task.sampler, min(self.options.noises, task.sampler.steps)
        losses, total = LossAccumulator(batch, noises), 0.0
        both, prompts = torch.cat([winners, losers]), batch.prompts * 2
        for i in stratified_steps(sampler.steps, noises, batch.draws, "t"):
            noise = latent_noise(model, batch.draws, "noise", i).repeat(2, 1, 1, 1)
            x, target = sampler.noised(both, noise, i), sampler.target(both, noise, i)
            with torch.no_grad(), reference.loaded(model):
                reference_errors = _errors(predict_step(model, sampler, x, i, prompts, 1.0).output, target)
            prediction = predict_step(model, sampler, x, i, prompts, 1.0)
            losses.penalise(prediction)
            pairs = pair_loss(_errors(prediction.output, target), reference_errors, beta)
            loss = (pairs if weights is None else weights * pairs).mean() / noises
            losses.backward(loss)
            total += loss.item()
        return losses.log(reward, total)


def _errors(out: Tensor, target: Tensor) -> Tensor:
    return (out - target).square().mean((1, 2, 3))
