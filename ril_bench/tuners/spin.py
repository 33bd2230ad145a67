"""SPIN-Diffusion (arXiv 2402.10210): given images win against what an earlier iterate of the model makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field, field_validator

from ril_bench.data.image_sets import load_images, locate_images
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import sample
from ril_bench.draws import Draws
from ril_bench.tuners.base import Grading, Held, Log, Penalty, Task, Tuner
from ril_bench.tuners.pairs import learn_pairs
from ril_bench.tuners.reference import Reference


class Spin(Tuner):
    """SPIN-Diffusion: the pair loss of DPO, a given image of the prompt against one that theta_k made of it.

        L = -log sigmoid(-beta/2 {[|eps - eps_theta(x_t)|^2 - |eps - eps_k(x_t)|^2]
                                  - [|eps' - eps_theta(x'_t)|^2 - |eps' - eps_k(x'_t)|^2]})

    theta_k is opponent and reference; after each iteration the trained model takes its place. [abstract; the loss from
    memory: |.|^2 is taken as the mean over elements and beta/2 as in DPO, which is not verified; lr 2e-5, effective
    batch 2048, 500 updates an iteration, beta 2000, then 5000.] The first opponent is the model as the task began, and
    the losers are made anew at each update, by the opponent [ours]. t and noise as in dpo.

    It needs images, not a reward; the task's reward only scores the losers, for the log. An update of N prompts
    takes `steps` calls of the denoiser without gradient, an encoding, a decoding and a reward call, and `noises`
    calls on 2N latents with gradient, each with one of the opponent.
    """

    class Options(Tuner.Options):
        #: the image set that wins, as ril_bench.data.image_sets names them
        images: str
        #: of each iteration in turn; the last one holds for all that follow [memory]
        betas: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (2000.0, 5000.0)
        #: updates until the trained model is the opponent; null: the whole task is one iteration. 500 in the paper
        #: [memory]
        iteration: Annotated[int, Field(ge=1, strict=True)] | None = None
        #: noised versions of each pair in an update
        noises: Annotated[int, Field(ge=1, strict=True)] = 4

        @field_validator("images")
        @classmethod
        def _there_are_some(cls, reference: str) -> str:
            locate_images(reference)
            return reference

    options: Options
    needs = frozenset({"images"})

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        self._images = load_images(self.options.images)
        self._opponent, self._updates = Reference(model), 0

    @property
    def _beta(self) -> float:
        betas, length = self.options.betas, self.options.iteration
        return betas[min(self._updates // length, len(betas) - 1) if length else 0]

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
        images, prompts = self._images.of(prompts, draws)
        with torch.no_grad(), self._opponent.in_force(model):
            made = sample(model, task.sampler, prompts, draws, guidance=task.guidance)
            reward = task.reward(model.decode(made), prompts).mean().item()
        noises = min(self.options.noises, task.sampler.steps)
        grading = Grading(penalty, noises, share)
        loss = learn_pairs(
            model,
            self._opponent,
            model.encode(images.to(model.device)),
            made,
            prompts,
            task,
            draws,
            grading,
            noises=noises,
            beta=self._beta,
        )
        return grading.log(reward, loss)

    def after_update(self, model: DiffusionModel) -> None:
        self._updates += 1
        if self.options.iteration and self._updates % self.options.iteration == 0:
            self._opponent = Reference(model)

    def state_dict(self) -> dict[str, Any]:
        return {"opponent": self._opponent.lora, "updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._opponent.lora, self._updates = dict(state["opponent"]), state["updates"]
