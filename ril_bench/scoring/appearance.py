"""Metrics of a run's images: fidelity, structure and diversity of each step."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ril_bench.errors import UserError
from ril_bench.metrics.arrays import Array
from ril_bench.metrics.diversity import mean_pairwise_distance, vendi_score
from ril_bench.metrics.edges import boundary_f1, edge_maps
from ril_bench.metrics.frechet import biased, frechet_distance
from ril_bench.metrics.kernel import KernelDistance, kernel_distance
from ril_bench.metrics.structure import feature_cosine, moments, perceptual_distance, scales, similarities
from ril_bench.storage import names
from ril_bench.storage.images import read_image, unusable
from ril_bench.storage.read import StoredRun, image_files
from ril_bench.worlds import features
from ril_bench.worlds.table import World

BATCH = 64  # images of each step that are compared together, at most
#: pixels of each step that are compared together: 64 images of 256 x 256, or 4 of 1024 x 1024
ROOM = 64 * 256 * 256
WORST_SHOWN = 8
STRUCTURE = ("ssim", "ms_ssim", "lpips", "edges", "cosine")
SECOND = -1  # stands for the images of the second latent seed in a pair of steps
UNRELATED = "step 0 against the pretrained model's images of the same prompts from a second latent seed"


@dataclass(frozen=True)
class StepImages:
    """Images (N, 3, H, W) in 8 bits, their edges (N, H, W) and their features (N, d).

    Features are None where their network is missing.
    """

    images: Tensor
    edges: NDArray[np.bool_]
    distribution: Array | None
    content: Array | None


class Appearance:
    """The images of a run's steps, and the metrics of these images.

    Attributes:
        second: the images of step 0 from a second latent seed; None where the run has none.
    """

    def __init__(self, folder: Path, steps: Sequence[int], measured: features.Features):
        found = {step: read_images(folder / names.in_step(step, names.IMAGES)) for step in steps}
        second = read_images(folder / names.in_step(0, names.FID_REFERENCE))
        if not found[0]:
            raise UserError(
                "step 0 has no images",
                where=str(folder / names.in_step(0, names.IMAGES)),
                hint="the command of the run, with --repair, computes them",
            )
        self.names = list(found[0])
        for images in (*found.values(), second or found[0]):
            if odd := sorted(images.keys() ^ found[0].keys()):
                raise UserError(
                    f"the steps hold different images: {odd[0]}.png is not in all of them",
                    where=str(folder),
                    hint="move images away that are not of this run; the command of the run, with --repair, computes "
                    "missing ones",
                )
        self.prompts = [name.rpartition("-")[0] for name in self.names]  # PROMPT-SAMPLE
        self.measured = measured
        self.steps = {step: self._image_set(images) for step, images in found.items()}
        self.second = self._image_set(second) if second else None

    def _image_set(self, found: Mapping[str, Tensor]) -> StepImages:
        stack = torch.stack(list(found.values()))
        edges = np.concatenate([edge_maps(part.double() / 255) for part in stack.split(BATCH)])
        distribution, content = self.measured.distribution, self.measured.content
        features = distribution(stack) if distribution else None
        if content is distribution:
            return StepImages(stack, edges, features, features)
        return StepImages(stack, edges, features, content(stack) if content else None)

    def fidelity(self) -> dict[str, Any]:
        """FID and KID of each step to the images of the second seed; the floor is that of step 0."""
        reference = self.second.distribution if self.second else None
        extract = self.measured.distribution
        if extract is None or reference is None:
            return {"convention": None, "floor": None, "kid_floor": None, "biased": False, "steps": []}
        groups = self.prompts, self.prompts
        by_step = {step: x for step, images in self.steps.items() if (x := images.distribution) is not None}
        fid = {step: frechet_distance(x, reference) for step, x in by_step.items()}
        kid = {step: kernel_distance(x, reference, groups) for step, x in by_step.items()}
        return {
            "convention": {
                **extract.convention,
                "n": len(reference),
                "reference": "step 0, a second latent seed; the floor is step 0's first seed against it",
                "kid": _kid_convention(kid[0]),
            },
            "floor": fid[0],
            "kid_floor": kid[0].value,
            "biased": biased(by_step[0], reference),
            "steps": [
                {"step": step, "fid": fid[step], "kid": kid[step].value, "kid_sd": kid[step].sd}
                for step in by_step
            ],
        }

    def content_distance(self) -> dict[str, Any] | None:
        """The Frechet distance in the content features, for example FD-DINOv2.

        None where the content features are those of FID.
        """
        reference = self.second.content if self.second else None
        extract = self.measured.content
        if extract is None or reference is None or extract is self.measured.distribution:
            return None
        by_step = {step: x for step, images in self.steps.items() if (x := images.content) is not None}
        fd = {step: frechet_distance(x, reference) for step, x in by_step.items()}
        return {
            "convention": {**extract.convention, "n": len(reference)},
            "floor": fd[0],
            "biased": biased(by_step[0], reference),
            "steps": [{"step": step, "fd": fd[step]} for step in by_step],
        }

    def structure(self, prompts: Mapping[str, str]) -> dict[str, Any]:
        """Compares each step with step 0 and with the step before, for equal prompts and latents."""
        order = list(self.steps)
        pairs = [(step, 0) for step in order[1:]] + [(step, before) for before, step in pairwise(order[1:])]
        compared = self._compared([*pairs, (0, SECOND)] if self.second else pairs)
        steps = []
        for before, step in pairwise(order):
            to_0 = compared[step, 0]
            to_previous = compared[step, before]
            steps.append(
                {"step": step}
                | {f"{name}_to_0": to_0[name].mean() for name in STRUCTURE}
                | {f"{name}_to_previous": to_previous[name].mean() for name in STRUCTURE}
            )
        unrelated = compared.get((0, SECOND))
        height, width = self.steps[0].images.shape[2:]
        return {
            "convention": {
                "ssim": "Wang 2004: RGB, Gaussian window 11 (sigma 1.5), data_range 1, "
                "outer 5 pixels not scored",
                "ms_ssim": f"Wang 2003: {scales(height, width)} of 5 scales, weights divided by their sum, "
                "window as ssim",
                "lpips": self.measured.perceptual and self.measured.perceptual.convention,
                "edges": "Canny (grey, sigma 1, thresholds .1 and .2), F1 with 1 pixel tolerated",
                "cosine": self.measured.content and self.measured.content.convention,
                "pairs": len(self.names),
                "floor": UNRELATED,
            },
            "floor": {name: unrelated[name].mean() if unrelated else None for name in STRUCTURE},
            "steps": steps,
            "worst": self._worst(compared[order[-1], 0]["ssim"], prompts) if steps else [],
        }

    def diversity(self) -> dict[str, Any] | None:
        """Vendi score and mean pairwise distance of the samples of a prompt, averaged over prompts."""
        fewest = min(map(len, self._rows().values()))
        if self.measured.content is None or fewest < 2:
            return None
        return {
            "convention": {
                **self.measured.content.convention,
                "vendi": "cosine kernel, natural logarithm",
                "pairwise": "Euclidean distance of features",
                "samples_per_prompt": fewest,
                "second_seed": "the pretrained model from a second latent seed: what latents alone change",
            },
            "second_seed": self._diversity(self.second) if self.second else None,
            "steps": [{"step": step} | self._diversity(images) for step, images in self.steps.items()],
        }

    def _compared(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], dict[str, Array]]:
        """Every metric of STRUCTURE for each image of each pair of steps; NaN where its network is missing.

        What a metric needs of one image alone is computed once for all pairs, for a few images of every step.
        """
        sets = {**self.steps, **({SECOND: self.second} if self.second else {})}
        used = {step: sets[step] for pair in pairs for step in pair}
        height, width = self.steps[0].images.shape[2:]
        at_once = max(1, min(BATCH, ROOM // (height * width)))
        missing = np.full(len(self.names), np.nan)
        found: dict[tuple[int, int], dict[str, list[Array]]] = {pair: defaultdict(list) for pair in pairs}
        for start in range(0, len(self.names), at_once):
            images = {step: one.images[start : start + at_once] for step, one in used.items()}
            alone = {step: moments(part.double() / 255) for step, part in images.items()}
            network = self.measured.perceptual
            maps = {step: network(part) for step, part in images.items()} if network else {}
            for a, b in pairs:
                values = dict(zip(("ssim", "ms_ssim"), similarities(alone[a], alone[b]), strict=True))
                if network:
                    values["lpips"] = perceptual_distance(maps[a], maps[b], network.weights)
                for name, value in values.items():
                    found[a, b][name].append(value)
        return {
            pair: {name: np.concatenate(parts) for name, parts in found[pair].items()}
            | ({} if self.measured.perceptual else {"lpips": missing})
            | {
                "edges": boundary_f1(used[pair[0]].edges, used[pair[1]].edges),
                "cosine": self._cosine(used[pair[0]], used[pair[1]], missing),
            }
            for pair in pairs
        }

    def _cosine(self, a: StepImages, b: StepImages, missing: Array) -> Array:
        return missing if a.content is None or b.content is None else feature_cosine(a.content, b.content)

    def _worst(self, to_0: Array, prompts: Mapping[str, str]) -> list[dict[str, Any]]:
        """The prompts whose images at the last step differ most from step 0, worst first."""
        means = sorted((float(to_0[rows].mean()), prompt_id) for prompt_id, rows in self._rows().items())
        return [
            {
                "step": max(self.steps),
                "prompt_id": prompt_id,
                "prompt": prompts[prompt_id],
                "ssim_to_0": value,
            }
            for value, prompt_id in means[:WORST_SHOWN]
        ]

    def _diversity(self, images: StepImages) -> dict[str, float]:
        assert images.content is not None
        samples = [images.content[rows] for rows in self._rows().values()]
        return {
            "vendi": float(np.mean([vendi_score(x) for x in samples])),
            "pairwise": float(np.mean([mean_pairwise_distance(x) for x in samples])),
        }

    def _rows(self) -> dict[str, list[int]]:
        """The positions of each prompt's samples."""
        rows: dict[str, list[int]] = {}
        for i, prompt_id in enumerate(self.prompts):
            rows.setdefault(prompt_id, []).append(i)
        return rows


def appearance(run: StoredRun, world: World, notes: list[str]) -> dict[str, Any]:
    """The blocks `fidelity`, `structure` and `diversity` of metrics.json.

    Adds a note for each metric that is missing. Raises UserError where step 0 has no images, where the steps hold
    different images, or where the run has no prompts.
    """
    measured = features.load(world, notes)
    steps = sorted(run.scores["step"].unique().tolist())
    images = Appearance(run.folder, steps, measured)
    diversity = images.diversity()
    if measured.content and diversity is None:
        notes.append("only one sample of some prompt: no diversity")
    if images.second is None:
        notes.append("no images from a second latent seed: no FID, KID or floor of structure")
    if not run.prompts:
        raise UserError(
            f"the run has no {names.PROMPTS}",
            where=str(run.folder),
            hint="delete the folder and run it again",
        )
    fidelity = {**images.fidelity(), "content": images.content_distance()}
    return {"fidelity": fidelity, "structure": images.structure(run.prompts), "diversity": diversity}


def read_images(folder: Path) -> dict[str, Tensor]:
    """The images of a folder, ordered by name: {PROMPT-SAMPLE: 8-bit image (3, H, W)}.

    Raises UserError for an image that cannot be read, and for images of two sizes.
    """
    files = image_files(folder).values()
    found = {
        file: torch.from_numpy(np.array(read_image(file).convert("RGB"))).permute(2, 0, 1) for file in files
    }
    sizes = Counter(tuple(pixels.shape[1:]) for pixels in found.values())
    for file, pixels in found.items():
        usual = sizes.most_common(1)[0][0]
        if (size := tuple(pixels.shape[1:])) != usual:
            raise unusable(file, f"{size} pixels, and others have {usual}")
    return {file.stem: pixels for file, pixels in found.items()}


def _kid_convention(found: KernelDistance) -> str:
    sets = "full sets, sd: jackknife over prompts"
    if found.subsets > 1:
        sets = f"mean and sd over {found.subsets} seeded subsets"
    return f"kernel (x.y / d + 1)^3, unbiased: no pairs within a prompt; {sets}"
