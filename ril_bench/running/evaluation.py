"""Evaluation: fixed prompts and latents -> images -> scores, and the drift of the rollouts.

Prompts and latents are the same at every step of every run of a sequence.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from ril_bench.diffusion.drift import path_kl
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction, sample
from ril_bench.draws import Draws
from ril_bench.errors import NumericalError, RewardError
from ril_bench.machine.parallel import team
from ril_bench.rewards.base import Reward
from ril_bench.sequences.spec import Sequence as SequenceSpec
from ril_bench.storage import names

BATCH = 32  # the largest number of images in one batch
#: elements of one latent channel, summed over all images that are generated together
ROOM = 8 * 64 * 64
#: rollouts on which drift is measured, spread evenly over the evaluation's: each reference costs as many denoiser calls
#: as their images did
DRIFT_ROLLOUTS = 32


@dataclass(frozen=True)
class Generated:
    """What a model generated for the evaluation's prompts.

    Attributes:
        images: 8-bit images (N, 3, H, W); N = prompts x samples.
        drift: {name of a reference: path KL in nats from it, (M,), float64}, at `Evaluator.drift_positions`.
    """

    images: Tensor
    drift: dict[str, Tensor]


class Evaluator:
    """Evaluates the steps of a model.

    Args:
        rewards: the rewards by name; tasks first, then probes.
        prompts: exactly the prompts that are evaluated.
    """

    def __init__(
        self, model: DiffusionModel, rewards: Mapping[str, Reward], sequence: SequenceSpec, prompts: list[str]
    ):
        self.model = model
        self.rewards = rewards
        self.trained = set(sequence.order)
        self.spec = sequence.evaluation
        self.guidance = sequence.sampler.guidance
        self.sampler = model.sampler(sequence.sampler.steps, sequence.sampler.eta)
        self.prompt_ids = [f"{index:03d}" for index in range(len(prompts))]
        cells = [
            (prompt_id, prompt, number)
            for prompt_id, prompt in zip(self.prompt_ids, prompts, strict=True)
            for number in range(self.spec.images_per_prompt)
        ]
        self.prompts = [prompt for _, prompt, _ in cells]
        self.samples = [(prompt_id, number) for prompt_id, _, number in cells]

    def part(self, positions: Sequence[int]) -> Evaluator:
        """An evaluator of only some of the images, by their positions. The draws are the same."""
        chosen = copy.copy(self)
        chosen.prompts = [self.prompts[i] for i in positions]
        chosen.samples = [self.samples[i] for i in positions]
        return chosen

    @property
    def drift_positions(self) -> list[int]:
        """The positions of the samples on whose rollouts drift is measured."""
        count = min(len(self.samples), DRIFT_ROLLOUTS)
        return [k * len(self.samples) // count for k in range(count)]

    def images(self, lora: Mapping[str, Tensor], purpose: str = names.IMAGES) -> Tensor:
        """The images (N, 3, H, W) of `generate`."""
        return self.generate(lora, purpose=purpose).images

    @torch.no_grad()
    def generate(
        self,
        lora: Mapping[str, Tensor],
        references: Mapping[str, Mapping[str, Tensor]] | None = None,
        purpose: str = names.IMAGES,
    ) -> Generated:
        """8-bit images of the pretrained model with the LoRA of a step, and its drift from other steps.

        Args:
            lora: the tensors of the step's adapter.safetensors; empty for step 0.
            references: {name: LoRA of a step} to measure drift from; needs a sampler with eta above 0.
            purpose: a part of the draw key, which decides the latents.

        Raises NumericalError for images that are not finite.
        """
        references = references or {}
        together, n = team(), images_at_once(self.model)
        starts = range(0, len(self.samples), n)
        own = together.owned(range(len(starts)))  # share out whole batches, so that sums keep their bits
        with together.counted(self.model.counter):
            shares = together.gathered(
                lambda: list(self._batches([starts[i] for i in own], n, lora, references, purpose))
            )
        batches = [shares[i % together.size][i // together.size] for i in range(len(starts))]
        return Generated(
            torch.cat([batch.images for batch in batches]),
            {name: torch.cat([batch.drift[name] for batch in batches]) for name in references},
        )

    def _batches(
        self,
        starts: Iterable[int],
        n: int,
        lora: Mapping[str, Tensor],
        references: Mapping[str, Mapping[str, Tensor]],
        purpose: str,
    ) -> Iterator[Generated]:
        """The batches of n images that begin at the samples `starts`, on the CPU."""
        draws = Draws((self.spec.seed, purpose), self.samples)
        positions = self.drift_positions if references else []
        for start in starts:
            part = slice(start, start + n)
            rows = [position - start for position in positions if start <= position < start + n]
            rollout: list[Prediction] = []

            def keep(
                prediction: Prediction, rollout: list[Prediction] = rollout, rows: list[int] = rows
            ) -> None:
                rollout.append(prediction.of_samples(rows))

            with self.model.folded_lora(lora):
                latents = sample(
                    self.model,
                    self.sampler,
                    self.prompts[part],
                    draws[part],
                    guidance=self.guidance,
                    on_step=keep if rows else None,
                )
                images = self.model.decode(latents)
            # NaN in 8 bits would silently be black; the images are clamped, so infinity shows in the latents alone.
            if not bool(images.isfinite().all() and latents.isfinite().all()):
                raise NumericalError(
                    "the model's images are not finite: its weights or its activations are not finite",
                    where=f"prompt {self.samples[start][0]} and later prompts",
                    hint="lower the learning rate",
                )
            drift = {name: self._drift(rollout, reference) for name, reference in references.items()}
            yield Generated((images * 255).round().byte().cpu(), drift)

    def _drift(self, rollout: Sequence[Prediction], reference: Mapping[str, Tensor]) -> Tensor:
        """The path KL (M,) of a rollout from the model with another LoRA; empty without a rollout."""
        if not rollout:
            return torch.empty(0, dtype=torch.float64)
        with self.model.folded_lora(reference):
            return path_kl(self.model, rollout).cpu()

    def drift_table(self, drift: Mapping[str, Tensor]) -> pd.DataFrame:
        """The drift of `Generated`: a row for each rollout, with prompt_id, sample, and a column for each reference."""
        rows = [self.samples[position] for position in self.drift_positions]
        columns = {"prompt_id": [row[0] for row in rows], "sample": [row[1] for row in rows]}
        return pd.DataFrame(columns | {name: values.numpy() for name, values in drift.items()})

    def scores(self, images: Tensor, step: int) -> pd.DataFrame:
        """The scores of images: one row for each reward, prompt and sample.

        The columns are step, reward, prompt_id, sample, score and trained. Raises NumericalError for a score
        that is not finite.
        """
        tables = []
        for name, reward in self.rewards.items():
            scores = torch.cat(
                [
                    self._reference(name, reward, images[i : i + BATCH], self.prompts[i : i + BATCH])
                    for i in range(0, len(images), BATCH)
                ]
            )
            if not bool(scores.isfinite().all()):
                bad = self.samples[int((~scores.isfinite()).nonzero()[0])]
                # No training made the images of step 0.
                raise (NumericalError if step else RewardError)(
                    f"the reward {name} of an image is not finite",
                    where=f"step {step}, prompt {bad[0]}, sample {bad[1]}",
                    hint="fix the reward; what was computed before this step is kept",
                )
            tables.append(
                pd.DataFrame(
                    {
                        "step": step,
                        "reward": name,
                        "prompt_id": [prompt_id for prompt_id, _ in self.samples],
                        "sample": [number for _, number in self.samples],
                        "score": scores.double().numpy(),
                        "trained": name in self.trained,
                    }
                )
            )
        return pd.concat(tables, ignore_index=True)

    def _reference(self, name: str, reward: Reward, images: Tensor, prompts: list[str]) -> Tensor:
        self.model.counter[f"reference:{name}", False, len(images)] += 1
        return reward.reference(images.to(self.model.device).float() / 255, prompts).cpu()

    def files(self, images: Tensor, folder: str = names.IMAGES) -> dict[str, bytes]:
        """The images as PNG files: {FOLDER/PROMPT-SAMPLE.png: bytes}."""
        return {
            f"{folder}/{names.image(prompt_id, number)}": png(image)
            for (prompt_id, number), image in zip(self.samples, images, strict=True)
        }


def images_at_once(model: DiffusionModel) -> int:
    """The number of images that are generated together: a function of the size of the latents.

    The batch size changes the last bit of sums, so it must not depend on the machine or its memory. It is 8
    for latents of 64 x 64 (512 pixels), and 2 for SDXL.
    """
    _, height, width = model.latent_shape
    return max(1, min(BATCH, ROOM // (height * width)))


def drift_rollouts(sequence: SequenceSpec, step: int) -> int:
    """The number of rollouts whose noise is predicted again to measure the drift of a trained step.

    Drift is measured from step 0 and from the step before, which are the same for step 1. It needs a sampler with
    noise.
    """
    if sequence.sampler.eta == 0:
        return 0
    evaluation = sequence.evaluation
    rollouts = min(evaluation.prompts * evaluation.images_per_prompt, DRIFT_ROLLOUTS)
    return rollouts if step == 1 else 2 * rollouts


def png(image: Tensor) -> bytes:
    """An 8-bit image (3, H, W) as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG")
    return file.getvalue()
