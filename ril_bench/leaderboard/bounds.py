"""Bounds of every number that an entry states: what a run of its sequence can measure at all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open

from ril_bench.errors import UserError
from ril_bench.leaderboard.entry import Entry
from ril_bench.reporting.trained_tasks import updates_of
from ril_bench.storage import names

Z = 100.0  # |score - b| / sigma at most, with the calibration's b and sigma
SCORE = 1e6  # |score| at most, where a reward is not calibrated
#: (least, most) of a metric of images, whatever it is compared with; a distance may be a rounding error below 0
RANGES = {
    "fid": (-1e-3, 1e7),
    "fd": (-1e-3, 1e7),
    "kid": (-1e7, 1e9),
    "kid_sd": (0, 1e9),
    "ssim": (-1, 1),
    "ms_ssim": (-1, 1),
    "lpips": (0, 1e3),
    "edges": (0, 1),
    "cosine": (-1.001, 1.001),
    "vendi": (0, 1e6),
    "pairwise": (0, 1e6),
    "drift": (-1e-3, 1e9),
    "drift_se": (0, 1e9),
}
OTHER = (-1e9, 1e9)
#: drift is stored under the names of its references
DRIFT = re.compile(rf"({names.TO_0}|{names.TO_PREVIOUS})(_se)?")
REFERENCE = re.compile(rf"_({names.TO_0}|{names.TO_PREVIOUS})$")
#: the largest ratio of the bytes that a run counts to the values that its adapter holds
BYTES = (1, 8)


def scores(entry: Entry) -> Iterator[UserError]:
    """Every score is finite, and at most 100 sigma from the pretrained model's mean."""
    calibrated = entry.calibration.rewards
    for name, frame in ((names.SCORES, entry.scores), (names.ANYTIME, entry.within)):
        if frame is None:
            continue
        b = frame["reward"].map({key: one.b for key, one in calibrated.items()}).fillna(0.0).astype(float)
        sigma = frame["reward"].map({key: one.sigma for key, one in calibrated.items()})
        most = (Z * sigma.astype(float)).where(sigma.fillna(0.0) > 0, SCORE)
        bad = frame[~((frame["score"] - b).abs() <= most)]
        if len(bad):
            yield UserError(
                f"{len(bad)} scores are not finite, or more than {Z:g} sigma from the pretrained model's",
                where=f"{entry.file(name)}: {_place(bad)}",
                hint="a run whose rewards are not finite has failed; it is no entry",
            )


def _place(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return f"step {first['step']}, {first['reward']!s:.80}, prompt {first['prompt_id']!s:.80}, sample {first['sample']}"


def images(entry: Entry) -> Iterator[UserError]:
    """Metrics of images are in the range that they can have: SSIM from -1 to 1, FID from 0."""
    for block in ("fidelity", "structure", "diversity", "drift"):
        for key, value in _numbers(entry.metrics.get(block)):
            least, most = _range(key)
            if not least <= value <= most:
                yield UserError(
                    f"{block}: {key} is {value:.6g}",
                    where=str(entry.file(names.METRICS)),
                    hint=f"it is between {least:g} and {most:g}",
                )


def _numbers(tree: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """(key, number) of all numbers in a tree."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _numbers(value, f"{key}_{name}" if key in ("floor", "second_seed") else str(name))
    elif isinstance(tree, list):
        for value in tree:
            yield from _numbers(value, key)
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield key, float(tree)


def _range(key: str) -> tuple[float, float]:
    if match := DRIFT.fullmatch(key):
        return RANGES["drift_se" if match[2] else "drift"]
    name = REFERENCE.sub("", key).removeprefix("floor_").removeprefix("second_seed_")
    return RANGES.get({"floor": "fid", "kid_floor": "kid"}.get(name, name), OTHER)


def costs(entry: Entry) -> Iterator[UserError]:
    """No step costs less than its evaluation and its updates; stored bytes are those of the adapter."""
    spec, sequence = entry.sequence.evaluation, entry.sequence
    count = spec.prompts * spec.images_per_prompt
    for step, raw in zip(entry.run.steps, entry.raw["steps"], strict=True):
        if step.step == 0:
            continue  # the cache may have had it
        updates = updates_of(raw) or 0
        batch = sequence.task(step.step).budget.batch
        floors = {
            "train_seconds": 1e-6,
            "evaluation_seconds": 1e-6,
            "denoiser_forwards": count * sequence.sampler.steps + updates * batch,
            "denoiser_backwards": updates,
            "reward_calls": count * len(sequence.rewards),
            "peak_memory_bytes": 1,
            "carried_bytes": step.stored_bytes,
        }
        for name, floor in floors.items():
            if getattr(step, name) < floor:
                yield UserError(
                    f"step {step.step} states {name} {getattr(step, name):g}",
                    where=str(entry.file(names.RUN)),
                    hint=f"this sequence needs at least {floor:g}; submit run.json as the run wrote it",
                )
        if path := entry.adapters.get(step.step):
            least, most = (factor * _values(path) for factor in BYTES)
            if not least <= step.stored_bytes <= most:
                yield UserError(
                    f"step {step.step} states {step.stored_bytes:,} stored bytes",
                    where=str(entry.file(names.RUN)),
                    hint=f"its adapter has {_values(path):,} values",
                )


def _values(path: Any) -> int:
    with safe_open(path, framework="np") as file:
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in list(file.keys()))
