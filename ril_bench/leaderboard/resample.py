"""Generates images of an entry again, from its adapters and the evaluation's draws, and compares scores and metrics.

No code of the method is needed: the adapters of all steps are enough. The checker's seed decides which images. It is
drawn when the entry is written already, so nobody can choose an entry whose false scores are not drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from ril_bench.draws import generator
from ril_bench.errors import InfrastructureError, UserError
from ril_bench.leaderboard.differences import differences, listed
from ril_bench.leaderboard.entry import Entry
from ril_bench.leaderboard.levels import Resampled
from ril_bench.reporting.contact import image_grid
from ril_bench.running.evaluation import Generated
from ril_bench.running.materials import Materials
from ril_bench.scoring.appearance import appearance
from ril_bench.scoring.drift import drift
from ril_bench.storage import names
from ril_bench.storage.files import to_json, write_files
from ril_bench.storage.read import StoredRun
from ril_bench.storage.run_folder import parquet_bytes

KEY = ["step", "reward", "prompt_id", "sample"]
#: sigma, for a mean over images, whatever machine the run names; measured: 1e-3 between threads and processors, and
#: 1.2e-3 for half precision
TOLERANCE = 0.01
#: the same for a probe, which may count right answers: one answer that changes is a whole step
PROBE_TOLERANCE = 0.05
#: for metrics of images, relative, and absolute for those near 0; measured: 4e-4 and 3e-4, between processors and for
#: half precision. A change by 0.05 would be worth many ranks
IMAGE_TOLERANCE, IMAGE_ABSOLUTE = 0.005, 5e-4
SHEET_TOLERANCE = 12.0  # of 255, for a mean over pixels: what WebP costs is half of it
load_materials = Materials.load
BLOCKS = ("fidelity", "structure", "diversity", "drift")
#: a list whose order depends on the last bits, and what follows from a number; of a convention, numbers are compared
NOT_COMPARED = ("worst", "biased")


@dataclass
class _Loaded:
    """What all entries of one sequence share: its materials, and images of the pretrained model."""

    digest: str
    materials: Materials
    zero: dict[tuple[int, ...], Generated] = field(default_factory=dict)  # by positions
    second: Tensor | None = None  # images from the second latent seed


class Resampler:
    """Generates images of every step again.

    The model and rewards of a sequence are loaded once for all its entries, which must come one after another.

    Args:
        number: how many images of each step; None for all.
        seed: the checker's; it decides which images, the same ones for all entries of a sequence.
    """

    def __init__(self, number: int | None, seed: int):
        self.number, self.seed = number, seed
        self._loaded: _Loaded | None = None

    def __call__(self, entry: Entry) -> tuple[Resampled, list[UserError]]:
        """What was generated again, and its faults.

        A reward's mean absolute difference may be 0.01 sigma. Where all images are generated again, the metrics of
        images, the drift and the contact sheet are checked too.

        Raises UserError where the adapter of a step is missing.
        """
        steps = range(1, len(entry.sequence.order) + 1)
        if missing := [step for step in steps if step not in entry.adapters]:
            raise UserError(
                f"no adapter of step {', '.join(map(str, missing))}: its images cannot be generated again",
                where=str(entry.folder),
                hint="without the adapter of every step (each at most 8 MB) nothing of the entry can be verified",
            )
        loaded = self._materials(entry)
        whole = loaded.materials.evaluator
        chosen = positions(len(whole.samples), self.number, self.seed)
        part, everything = whole.part(chosen), len(chosen) == len(whole.samples)
        loras: dict[int, dict[str, Tensor]] = {0: {}} | {step: _lora(entry.adapters[step]) for step in steps}
        if (zero := tuple(chosen)) not in loaded.zero:
            loaded.zero[zero] = part.generate({})
        generated = {0: loaded.zero[zero]}
        for step in steps:
            references: dict[str, dict[str, Tensor]] = {names.TO_0: {}}
            if step > 1:
                references[names.TO_PREVIOUS] = loras[step - 1]
            noise = entry.sequence.sampler.eta > 0
            generated[step] = part.generate(loras[step], references if everything and noise else {})
        scores = pd.concat(
            [part.scores(each.images, step) for step, each in generated.items()], ignore_index=True
        )
        gaps = _gaps(entry, scores)
        faults = [*_weights(entry, loaded.materials), *_far(entry, gaps)]
        if everything:
            faults += _images(entry, loaded, generated, scores)
        return Resampled(len(chosen), len(whole.samples), tuple(generated), float(gaps.max())), faults

    def _materials(self, entry: Entry) -> _Loaded:
        digest = entry.sequence.sha256
        if self._loaded is None or self._loaded.digest != digest:
            try:
                materials = load_materials(entry.sequence, torch.device("cpu"))
            except UserError as error:  # such as weights that this machine has not: no word on the entry
                raise InfrastructureError(error.what, where=error.where, hint=error.hint) from error
            self._loaded = _Loaded(digest, materials)
        return self._loaded


def positions(total: int, number: int | None, seed: int) -> list[int]:
    """Which of `total` images are generated again, in order; None for all."""
    return sorted(generator("resample", seed).permutation(total)[:number].tolist())


def _lora(path: Path) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in load_file(path).items()}


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
    for step, reward, gap in gaps.reset_index().itertuples(index=False):
        tolerance = TOLERANCE if reward in entry.sequence.order else PROBE_TOLERANCE
        if not gap <= tolerance:
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
    entry: Entry, loaded: _Loaded, generated: Mapping[int, Generated], scores: pd.DataFrame
) -> Iterator[UserError]:
    """Metrics of images and drift of every step against metrics.json, and the contact sheet."""
    evaluator = loaded.materials.evaluator
    if loaded.second is None:
        loaded.second = evaluator.images({}, names.FID_REFERENCE)
    with TemporaryDirectory() as folder:
        run = _as_run(Path(folder), loaded, generated, scores)
        computed = {**appearance(run, entry.sequence.home, []), "drift": drift(run, entry.sequence, [])}
        sheet = image_grid(run)
    claimed, found = (_compared(tree) for tree in (entry.metrics, computed))
    if wrong := list(differences(claimed, found, relative=IMAGE_TOLERANCE, absolute=IMAGE_ABSOLUTE)):
        yield UserError(
            f"the images do not give their metrics: {listed(wrong)}",
            where=str(entry.file(names.METRICS)),
            hint="submit the adapters and the metrics of one and the same run",
        )
    if (gap := _pixels_apart(entry.file(names.CONTACT_SHEET), sheet)) > SHEET_TOLERANCE:
        yield UserError(
            f"the contact sheet does not show the images of this run: {gap:.0f} of 255 off",
            where=str(entry.file(names.CONTACT_SHEET)),
            hint="submit the sheet that `ril-bench submit` makes of the run",
        )


def _as_run(
    folder: Path, loaded: _Loaded, generated: Mapping[int, Generated], scores: pd.DataFrame
) -> StoredRun:
    """The images, drift and scores as the folder of a run, so that they are scored by the same code."""
    evaluator = loaded.materials.evaluator
    assert loaded.second is not None
    prompts = dict(zip(evaluator.prompt_ids, loaded.materials.eval_prompts, strict=True))
    listed_prompts = [{"prompt_id": key, "prompt": prompt} for key, prompt in prompts.items()]
    files = {
        names.PROMPTS: to_json(listed_prompts).encode(),
        names.SCORES: parquet_bytes(scores),
        **_in_step(0, evaluator.files(loaded.second, names.FID_REFERENCE)),
    }
    for step, each in generated.items():
        files |= _in_step(step, evaluator.files(each.images))
        if each.drift:
            table = evaluator.drift_table({names.TO_PREVIOUS: each.drift[names.TO_0], **each.drift})
            files[names.in_step(step, names.DRIFT)] = parquet_bytes(table)
    write_files({folder / name: data for name, data in files.items()})
    return StoredRun(folder)


def _in_step(step: int, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {names.in_step(step, name): data for name, data in files.items()}


def _compared(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of metrics.json that follow from images."""
    return {
        name: {
            key: _numbers_of(value) if key == "convention" else value
            for key, value in block.items()
            if key not in NOT_COMPARED
        }
        if block
        else block
        for name in BLOCKS
        for block in [metrics.get(name)]
    }


def _numbers_of(convention: Mapping[str, Any] | None) -> dict[str, float]:
    """The numbers that a convention states, such as of images; its words may change from version to version."""
    return {key: value for key, value in (convention or {}).items() if isinstance(value, int | float)}


def _pixels_apart(file: Path, sheet: Image.Image) -> float:
    """The mean difference of two images of one size, from 0 to 255; 255 for another size."""
    with Image.open(file, formats=["WEBP"]) as stored:
        a, b = (np.asarray(image.convert("RGB"), np.float64) for image in (stored, sheet))
    return float(np.abs(a - b).mean()) if a.shape == b.shape else 255.0


def drawn_seeds(seeds: Sequence[int], number: int, seed: int, key: str) -> list[int]:
    """Which seeds of a group are trained again, in order; the checker's seed decides."""
    return sorted(generator("rerun", seed, key).permutation(list(seeds))[:number].tolist())
