"""SPIN-Diffusion (arXiv 2402.10210): prefer given images to those of an earlier model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field, field_validator

from ril_bench.data.image_sets import load_images, locate_images
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import sample
from ril_bench.tuners.base import Cost, Log, MicroBatch, Task
from ril_bench.tuners.pairs import PairTuner
from ril_bench.tuners.reference import ReferenceModel


class Spin(PairTuner):
    """SPIN-Diffusion: DPO's pair loss; a given image wins against an image that theta_k samples for its prompt.

        L = -log sigmoid(-beta/2 {[|eps - eps_theta(x_t)|^2 - |eps - eps_k(x_t)|^2]
                                  - [|eps' - eps_theta(x'_t)|^2 - |eps' - eps_k(x'_t)|^2]})

    theta_k is both opponent and reference; after each iteration the trained model replaces it. [abstract; the loss
    from memory: |.|^2 is taken as the mean over elements and beta/2 as in DPO, which is not verified; lr 2e-5,
    effective batch 2048, 500 updates an iteration, beta 2000, then 5000.] The first opponent is the model when the
    task began, and the opponent samples the losers at each update [ours]. t and noise are drawn as in dpo.

    The tuner needs images, not a reward: the task's reward only scores the losers, for the log.

    Cost: an update of N prompts takes `steps` calls of the denoiser without gradient, one encoding, one decoding and
    one reward call, and `noises` calls on 2N latents with gradient, each with one call of the opponent.
    """

    class Options(PairTuner.Options):
        images: str
        """The image set that wins: see ril_bench.data.image_sets."""
        betas: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (2000.0, 5000.0)
        """beta of each iteration; the last one is used for all that follow [memory]."""
        iteration: Annotated[int, Field(ge=1, strict=True)] | None = None
        """Updates until the trained model becomes the opponent; null: the task is one iteration. 500 in the
        paper [memory]."""

        @field_validator("images")
        @classmethod
        def _images_exist(cls, reference: str) -> str:
            locate_images(reference)
            return reference

    options: Options
    needs = frozenset({"images"})

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        self._images = load_images(self.options.images, model.image_size, reward=task.name)
        self._opponent, self._updates = ReferenceModel(model), 0

    def update_cost(self, steps: int, guided: int) -> Cost:
        return Cost(guided * steps, images=1) + self.pairs_cost(steps)

    def accumulate(self, model: DiffusionModel, task: Task, batch: MicroBatch) -> Log:
        images, prompts = self._images.of(batch.prompts, batch.draws)
        batch = replace(batch, prompts=prompts)
        with torch.no_grad(), self._opponent.loaded(model):
            losers = sample(model, task.sampler, prompts, batch.draws, guidance=task.guidance)
            reward = task.reward(model.decode(losers), prompts).mean().item()
        return self.learn_pairs(
            model,
            task,
            batch,
            winners=model.encode(images.to(model.device)),
            losers=losers,
            reference=self._opponent,
            beta=self._beta,
            reward=reward,
        )

    @property
    def _beta(self) -> float:
        betas, length = self.options.betas, self.options.iteration
        return betas[min(self._updates // length, len(betas) - 1) if length else 0]

    def after_update(self, model: DiffusionModel) -> None:
        self._updates += 1
        if self.options.iteration and self._updates % self.options.iteration == 0:
            self._opponent = ReferenceModel(model)

    def state_dict(self) -> dict[str, Any]:
        return {"opponent": self._opponent.lora, "updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._opponent.lora, self._updates = dict(state["opponent"]), state["updates"]
