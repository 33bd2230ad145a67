"""Generates images of an entry again, from its adapter and the evaluation's draws, and compares their scores.

No code of the method is needed: step-<i>/adapter.safetensors is enough. The digest of the entry decides which images,
so that everybody gets the same ones, and nobody knows them before the entry is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor

from ril_bench.draws import generator
from ril_bench.errors import UserError
from ril_bench.leaderboard.differences import differences, listed
from ril_bench.leaderboard.entry import Entry
from ril_bench.running import provenance
from ril_bench.running.materials import Materials
from ril_bench.running.steps import TOLERANCE, TOLERANCE_SAME_CPU
from ril_bench.scoring.appearance import Appearance
from ril_bench.storage import names
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.files import write_files
from ril_bench.storage.read import dig
from ril_bench.worlds import features

KEY = ["step", "reward", "prompt_id", "sample"]
IMAGE_TOLERANCE = 0.05  # relative, for metrics of images: FID depends on the last bit of every pixel


@dataclass(frozen=True)
class Resampled:
    """What was generated again; `gap`: the largest mean difference of a reward, in deviations over prompts (sigma)."""

    images: int
    of: int
    steps: tuple[int, ...]
    gap: float
    remade: bool  # whether all were, so that FID, SSIM, ... of the last step were computed again

    def __str__(self) -> str:
        steps = " and ".join(map(str, self.steps))
        return f"{self.images} of {self.of} images of steps {steps} regenerated: within {self.gap:.2g} sigma"


class Resampler:
    """Generates images again: `number` of step 0 and of each step that has an adapter, or all if there are fewer.

    The model and rewards of a sequence are loaded once for all its entries, which must come one after another.
    """

    def __init__(self, number: int):
        self.number = number
        self._loaded: tuple[str, Materials] | None = None

    def __call__(self, entry: Entry) -> tuple[Resampled, list[UserError]]:
        """What was generated again, and its faults.

        A reward's mean absolute difference may be 0.05 sigma on the processor that the run names, 0.2 on another: the
        tolerance of row 0. Where all images are generated again, the metrics of the last step's images are checked too.

        Raises UserError where there is no adapter.
        """
        last = len(entry.sequence.order)
        if last not in entry.adapters:
            raise UserError(
                f"no adapter of step {last}: no image can be generated again",
                where=str(entry.folder),
                hint="submit it; without an adapter the metrics of images stay claimed",
            )
        materials = self._materials(entry)
        whole = materials.evaluator
        chosen = positions(len(whole.samples), self.number, sha256_file(entry.file(names.DIGESTS)))
        part = whole.part(chosen)
        remade = len(chosen) == len(whole.samples)
        # Entries of earlier versions state no drift.
        drifts = remade and dig(entry.metrics, "drift")
        references: dict[str, dict[str, Tensor]] = {names.TO_0: {}} if drifts else {}
        generated = {
            step: part.generate(
                {name: tensor.float() for name, tensor in load_file(entry.adapters[step]).items()}
                if step
                else {},
                references if step == last else {},
            )
            for step in (0, *sorted(entry.adapters))
        }
        made = {step: each.images for step, each in generated.items()}
        scores = [part.scores(images, step) for step, images in made.items()]
        gaps = _gaps(entry, pd.concat(scores, ignore_index=True))
        faults = [*_weights(entry, materials), *_far(entry, gaps)]
        if remade:
            faults += _images(entry, materials, {0: made[0], last: made[last]}, generated[last].drift)
        return Resampled(len(chosen), len(whole.samples), tuple(made), float(gaps.max()), remade), faults

    def _materials(self, entry: Entry) -> Materials:
        digest = entry.sequence.sha256
        if self._loaded is None or self._loaded[0] != digest:
            self._loaded = (digest, Materials.load(entry.sequence, torch.device("cpu")))
        return self._loaded[1]


def positions(total: int, number: int, key: str) -> list[int]:
    """Which of `total` images are generated again, in order; a key decides."""
    return sorted(generator("resample", key).permutation(total)[:number].tolist())


def _gaps(entry: Entry, regenerated: pd.DataFrame) -> pd.Series:
    """Mean absolute difference of a step's reward to the claimed scores, in sigma."""
    both = regenerated.merge(entry.scores, on=KEY, suffixes=("_regenerated", "_claimed"))
    gap = (both["score_regenerated"] - both["score_claimed"]).abs()
    sigma = both["reward"].map(_sigmas(entry))
    apart = (gap / sigma).where(gap > 0, 0.0)  # a reward that is the same for all prompts has no deviation
    return apart.groupby([both["step"], both["reward"]], sort=False).mean()


def _sigmas(entry: Entry) -> dict[str, float]:
    """A reward's deviation over prompts at step 0: the calibration's, or the entry's own where that has none."""
    before = entry.scores[entry.scores["step"] == 0]
    own = before.groupby(["reward", "prompt_id"])["score"].mean().groupby("reward").std()
    calibrated = {name: one.sigma for name, one in entry.calibration.rewards.items()}
    return {str(name): sigma for name, sigma in own.items()} | calibrated


def _far(entry: Entry, gaps: pd.Series) -> Iterator[UserError]:
    same = entry.run.hardware.gpu is None and entry.run.hardware.cpu == provenance.processor()
    tolerance = TOLERANCE_SAME_CPU if same else TOLERANCE
    for row in gaps[~(gaps <= tolerance)].reset_index().itertuples(index=False):
        step, reward, gap = row
        yield UserError(
            f"the adapter does not give the scores: {reward} at step {step} is {gap:.3g} sigma off, and "
            f"{tolerance} is allowed",
            where=str(entry.adapters.get(step, entry.file(names.SCORES))),
            hint="submit the adapter and the scores of one and the same run",
        )


def _weights(entry: Entry, materials: Materials) -> Iterator[UserError]:
    """The run used the weights of this installation."""
    found = {name: sha for name, sha in entry.run.weights.items() if materials.weights.get(name) != sha}
    if found or entry.run.weights.keys() != materials.weights.keys():
        named = sorted(found) or sorted(entry.run.weights.keys() ^ materials.weights.keys())
        yield UserError(
            f"the run used other weights: {', '.join(named)}"[:300],
            where=str(entry.file(names.RUN)),
            hint="run it again with the weights of this version",
        )


def _images(
    entry: Entry, materials: Materials, made: dict[int, Tensor], drift: dict[str, Tensor]
) -> Iterator[UserError]:
    """Fidelity, structure, diversity and drift of the last step, against metrics.json."""
    whole, last = materials.evaluator, max(made)
    with TemporaryDirectory() as folder:
        files = {
            names.in_step(0, k): v
            for k, v in whole.files(whole.images({}, names.FID_REFERENCE), names.FID_REFERENCE).items()
        }
        for step, images in made.items():
            files |= {names.in_step(step, name): data for name, data in whole.files(images).items()}
        write_files({Path(folder, name): data for name, data in files.items()})
        seen = Appearance(Path(folder), sorted(made), features.load(entry.sequence.home, []))
        computed = {"fidelity": seen.fidelity(), "structure": seen.structure(_prompts(materials))}
        computed["diversity"] = seen.diversity() or {}
        computed["drift"] = {
            "steps": [{"step": last} | {name: float(each.mean()) for name, each in drift.items()}]
        }
    claimed, found = (_last(tree, last) for tree in (entry.metrics, computed))
    if wrong := list(differences(claimed, found, relative=IMAGE_TOLERANCE, absolute=1e-3)):
        yield UserError(
            f"the images do not give their metrics: {listed(wrong)}",
            where=str(entry.file(names.METRICS)),
            hint="submit the adapter and the metrics of one and the same run",
        )


def _last(metrics: dict[str, Any], step: int) -> dict[str, Any]:
    """The metrics of one step's images against step 0, and their floors."""
    found: dict[str, Any] = {
        f"{group} floor": dig(metrics, group, "floor") for group in ("fidelity", "structure")
    }
    found["kid floor"] = dig(metrics, "fidelity", "kid_floor")
    for group in ("fidelity", "structure", "diversity"):
        rows = [row for row in dig(metrics, group, "steps") or [] if dig(row, "step") == step]
        values = rows[0] if rows else {}
        found[group] = {k: v for k, v in values.items() if not k.endswith("_to_previous")}
    rows = [row for row in dig(metrics, "drift", "steps") or [] if dig(row, "step") == step]
    found["drift"] = dig(rows[0], names.TO_0) if rows else None
    return found


def _prompts(materials: Materials) -> dict[str, str]:
    return dict(zip(materials.evaluator.prompt_ids, materials.eval_prompts, strict=True))
