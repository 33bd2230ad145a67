"""Diffusion-DPO (arXiv 2311.12908) on pairs of the tuner's own images, ranked by the reward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.tuners.base import Cost, Log, MicroBatch, Task
from ril_bench.tuners.pairs import PairTuner
from ril_bench.tuners.reference import ReferenceModel, ReferenceName
from ril_bench.tuners.samples import scored_copies


class Dpo(PairTuner):
    """Diffusion-DPO: L = -log sigmoid(-beta/2 [(m_w - m_l) - (ref_w - ref_l)]), m the mean squared error. [code]

    Both images of a pair get the same t and noise, and beta is 5000 [code]. The paper learns from people's choices.
    Here the winner and the loser are the best and the worst of a few own images of the prompt, by the reward's values
    alone, sampled again at each update; a pair with equal scores has no loss [ours]. Ranks do not depend on the unit of
    the reward. The predictions are conditional, without guidance; t is one of the sampler's own steps (as in sft)
    [ours].

    Cost: an update of N prompts takes samples x steps calls of the denoiser without gradient, `samples` decodings and
    reward calls, and `noises` calls on 2N latents with gradient, each with one call of the reference.
    """

    class Options(PairTuner.Options):
        beta: Annotated[float, Field(gt=0)] = 5000.0
        """How strongly the loss keeps the model near the reference [code]."""
        samples: Annotated[int, Field(ge=2, strict=True)] = 2
        """Own images of each prompt; the best and the worst of them make the pair."""
        reference: ReferenceName = "previous"
        """The reference model; the paper has one task, where both names mean the same model."""

    options: Options
    needs = frozenset({"reward"})

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        self._reference = ReferenceModel(model, self.options.reference)

    def update_cost(self, steps: int, guided: int) -> Cost:
        samples = self.options.samples
        return Cost(guided * samples * steps, images=samples) + self.pairs_cost(steps)

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        latents, rewards = scored_copies(model, task, batch, self.options.samples)
        best, worst = rewards.argmax(0), rewards.argmin(0)
        each = torch.arange(len(batch.prompts), device=rewards.device)
        return self.learn_pairs(
            model,
            task,
            batch,
            winners=latents[best, each],
            losers=latents[worst, each],
            reference=self._reference,
            beta=self.options.beta,
            reward=rewards.mean().item(),
            weights=(rewards[best, each] > rewards[worst, each]).float(),
        )

    def state_dict(self) -> dict[str, Any]:
        return {"reference": self._reference.lora}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._reference.lora = dict(state["reference"])
