"""Diffusion-DPO (arXiv 2311.12908) on pairs of the tuner's own images, ranked by the reward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.draws import Draws
from ril_bench.tuners.base import Grading, Held, Log, Penalty, Task, Tuner
from ril_bench.tuners.pairs import learn_pairs
from ril_bench.tuners.reference import Reference, Which
from ril_bench.tuners.samples import rated


class Dpo(Tuner):
    """Diffusion-DPO: L = -log sigmoid(-beta/2 [(m_w - m_l) - (ref_w - ref_l)]), m the mean squared noise error. [code]

    t and noise are shared by the pair, beta is 5000 [code]. The paper learns from people's choices; here winner and
    loser are the best and the worst of a few own images of the prompt, by the reward's values alone, made anew at
    each update; a pair that scored the same teaches nothing [ours]. Plain conditional noise, without guidance; t is
    one of the sampler's own steps (as in sft) [ours].

    An update of N prompts takes samples x steps calls of the denoiser without gradient, a decoding and a reward call
    for each of the `samples`, and `noises` calls on 2N latents with gradient, each with one of the reference.
    """

    class Options(Tuner.Options):
        #: how hard the reference holds [code]
        beta: Annotated[float, Field(gt=0)] = 5000.0
        #: own images of each prompt, of which the best and the worst make the pair
        samples: Annotated[int, Field(ge=2, strict=True)] = 2
        #: noised versions of each pair in an update
        noises: Annotated[int, Field(ge=1, strict=True)] = 4
        #: the model it is held to; the paper knows one task, where both are the same
        reference: Which = "previous"

    options: Options
    needs = frozenset({"reward"})

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        self._reference = Reference(model, self.options.reference)

    def holds(self, steps: int, guided: int) -> Held:
        return Held(2, together=False)  # a winner and a loser, without guidance

    def accumulate(
        self,
        model: DiffusionModel,
        prompts: list[str],
        task: Task,
        penalty: Penalty | None,
        draws: Draws,
        share: float,
    ) -> Log:
        latents, rewards = rated(model, task, prompts, draws, self.options.samples)
        best, worst = rewards.argmax(0), rewards.argmin(0)
        each = torch.arange(len(prompts), device=rewards.device)
        decided = rewards[best, each] > rewards[worst, each]
        noises = min(self.options.noises, task.sampler.steps)
        grading = Grading(penalty, noises, share)
        loss = learn_pairs(
            model,
            self._reference,
            latents[best, each],
            latents[worst, each],
            prompts,
            task,
            draws,
            grading,
            noises=noises,
            beta=self.options.beta,
            weights=decided.float(),
        )
        return grading.log(rewards.mean().item(), loss)

    def state_dict(self) -> dict[str, Any]:
        return {"reference": self._reference.lora}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._reference.lora = dict(state["reference"])
