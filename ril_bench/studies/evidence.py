"""The properties of a sequence from the stored runs of its calibration."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ril_bench.metrics import properties as p
from ril_bench.metrics.arrays import Array
from ril_bench.metrics.continual import Scale
from ril_bench.metrics.properties import PROPERTIES
from ril_bench.metrics.statistics import Interval
from ril_bench.scoring.appearance import read_images
from ril_bench.sequences.calibrations import PropertyRecord, RewardCalibration
from ril_bench.sequences.spec import Sequence as SequenceSpec
from ril_bench.storage import names
from ril_bench.storage.read import StoredRun

#: the probe that finds the prompt's attributes in an image
PROBE = "attributes"


@dataclass(frozen=True)
class Evidence:
    """The complete runs of one sequence. `naive` and `joint` have the same seeds in the same order."""

    sequence: SequenceSpec
    single: Sequence[StoredRun]
    naive: Sequence[StoredRun]
    joint: Sequence[StoredRun]

    def reached(self, reward: str) -> list[float]:
        """The score of a reward after tuning on it alone, for each seed; empty for a probe."""
        order = self.sequence.order
        if reward not in order:
            return []
        step = order.index(reward) + 1
        return [float(run.reward_matrix[reward].to_numpy()[step]) for run in self.single]

    def column(self, reward: str) -> Array | None:
        """The score of a reward at every step of `single`, (seeds, T+1); None if it is not evaluated."""
        if reward not in self.sequence.rewards:
            return None
        return np.stack([run.reward_matrix[reward].to_numpy() for run in self.single])

    def diversity(self) -> Array | None:
        """The mean pairwise distance at every step of `single`, (seeds, T+1); None if it is missing."""
        rows = [run.per_step("diversity", "pairwise") for run in self.single]
        values = [[value for _, value in row] for row in rows]
        complete = all(row and None not in row for row in values)
        return np.array(values, dtype=np.float64) if complete else None

    def gradient_norms(self) -> dict[str, list[float]]:
        """The gradient norms of all updates of `single`, by task."""
        lines = [line for run in self.single for line in run.log]
        return {
            task: [line["grad_norm"] for line in lines if line["reward"] == task]
            for task in self.sequence.order
        }

    def normalised(self, runs: Sequence[StoredRun], unit: Scale) -> Array:
        """N of each run, (seeds, T+1, T)."""
        return np.stack([unit.normalise(run.reward_matrix[self.sequence.order].to_numpy()) for run in runs])


def property_records(
    evidence: Evidence, rewards: Mapping[str, RewardCalibration]
) -> dict[str, PropertyRecord]:
    """All properties of `metrics.properties`, by name.

    Args:
        rewards: the calibration of each reward, from the same runs.
    """
    tasks = evidence.sequence.order
    gains, errors = np.array([_gain(rewards[task]) for task in tasks]).T
    norms = evidence.gradient_norms()
    medians = {task: float(np.median(of_task)) for task, of_task in norms.items()}
    by_task = dict(zip(tasks, map(float, gains), strict=True))
    noise = dict(zip(tasks, map(float, p.in_errors(gains, errors)), strict=True))
    return {
        "headroom": _record("headroom", p.headroom(gains), by_task),
        "headroom_over_noise": _record("headroom_over_noise", p.headroom_over_noise(gains, errors), noise),
        "equal_pushes": _record("equal_pushes", p.equal_pushes(gains), by_task),
        "attributes_kept": _kept("attributes_kept", evidence.column(PROBE), tasks),
        "diversity_kept": _kept("diversity_kept", evidence.diversity(), tasks),
        **_in_units_of_tuning_alone(evidence, rewards),
        "equal_gradients": _record("equal_gradients", p.equal_gradients(list(norms.values())), medians),
        "agreement": _agreement(evidence),
    }


def _gain(entry: RewardCalibration) -> tuple[float, float]:
    """What tuning alone gains, and its standard error over seeds, both in sigma."""
    assert entry.u is not None, "a task is tuned"
    assert entry.se is not None, "a task is tuned on several seeds"
    sigma = entry.sigma or math.nan  # equal scores of all prompts are no unit
    return entry.direction * (entry.u - entry.b) / sigma, entry.se / sigma


def _record(name: str, value: float, parts: Mapping[str, float]) -> PropertyRecord:
    return PropertyRecord(
        value=_finite(value),
        bound=PROPERTIES[name].bound,
        holds=PROPERTIES[name].holds(value),
        parts={part: _finite(of_part) for part, of_part in parts.items()},
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _kept(name: str, values: Array | None, tasks: Sequence[str]) -> PropertyRecord:
    if values is None:
        return _record(name, math.nan, {})
    means = values.mean(axis=0)
    return _record(name, p.kept(values), dict(zip(["step 0", *tasks], map(float, means), strict=True)))


def _in_units_of_tuning_alone(
    evidence: Evidence, rewards: Mapping[str, RewardCalibration]
) -> dict[str, PropertyRecord]:
    """The properties that are defined on N; not measured where a reward has no unit of N."""
    tasks = evidence.sequence.order
    if any(rewards[task].refused for task in tasks):
        of_N = ("attainable", "attainable_worst", "forgetting", "resolution")
        return {name: _record(name, math.nan, {}) for name in of_N}
    unit = Scale.from_calibration({task: rewards[task].model_dump() for task in tasks}, tasks)
    joint = evidence.normalised(evidence.joint, unit)
    naive = evidence.normalised(evidence.naive, unit)
    last = dict(zip(tasks, map(float, joint[:, -1].mean(axis=0)), strict=True))
    transfer, distance = p.forgetting(naive), p.distance(joint, naive)
    return {
        "attainable": _record("attainable", p.attainable(joint), last),
        "attainable_worst": _record("attainable_worst", p.attainable_worst(joint), last),
        "forgetting": _record("forgetting", transfer.high, _parts(transfer)),
        "resolution": _record("resolution", p.resolution(distance), _parts(distance)),
    }


def _parts(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _agreement(evidence: Evidence) -> PropertyRecord:
    """The agreement of each reward with its taste at each step of naive, averaged over seeds."""
    found: dict[str, list[float]] = {}
    for run in evidence.naive if evidence.sequence.home.tastes else ():
        for step in run.steps:
            for reward, value in _agreement_at(evidence.sequence, run, step).items():
                found.setdefault(f"{reward}, step {step}", []).append(value)
    parts = {part: float(np.mean(values)) for part, values in found.items()}
    return _record("agreement", min(parts.values(), default=math.nan), parts)


def _agreement_at(sequence: SequenceSpec, run: StoredRun, step: int) -> dict[str, float]:
    """The agreement of each reward of a run with its taste, over the images of one step."""
    images = read_images(run.folder / names.in_step(step, names.IMAGES))
    keys = [names.image_key(stem) for stem in images]
    prompts = [run.prompts[key[0]] for key in keys if key is not None]
    module, _, function = str(sequence.home.tastes).partition(":")
    tastes = getattr(importlib.import_module(module), function)(torch.stack(list(images.values())), prompts)
    of_step = run.scores[run.scores["step"] == step].set_index(["reward", "prompt_id", "sample"])["score"]
    return {
        reward: p.agreement([of_step[(reward, *key)] for key in keys if key is not None], tastes[reward])
        for reward in sequence.order
        if reward in tastes
    }
