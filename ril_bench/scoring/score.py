"""Computes metrics.json from the files of a run's folder. The model is not needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ril_bench.metrics import continual as c
from ril_bench.metrics.anytime import anytime
from ril_bench.metrics.arrays import Array
from ril_bench.rewards.base import Reward
from ril_bench.scoring.appearance import appearance
from ril_bench.scoring.drift import drift
from ril_bench.scoring.scales import adapter_scales
from ril_bench.sequences.calibrations import Calibration
from ril_bench.sequences.spec import Sequence as SequenceSpec
from ril_bench.storage import names
from ril_bench.storage.integrity import refuse_damage
from ril_bench.storage.read import read_run
from ril_bench.storage.run_folder import RunFolder

SCHEMA_VERSION = 1
#: the name of a block -> the function that turns raw scores into the block's scores
Scales = Mapping[str, Callable[[Array], Array] | None]


def score_run(path: Path) -> dict[str, Any]:
    """Computes the metrics of a run from its files, writes metrics.json, and returns them.

    An unfinished run is scored on its complete steps. Its continual metrics are null, because they need all
    steps.

    Raises UserError where the run has no scores yet, or one of its files is damaged.
    """
    run = read_run(path)
    refuse_damage(run.folder, run.info, but=names.METRICS)
    sequence = SequenceSpec.model_validate(run.info["sequence"])
    recorded = run.info["calibration"]
    calibration = recorded and Calibration.model_validate(recorded["content"])
    notes = [limits] if calibration and (limits := calibration.limits) else []
    metrics = {
        "schema_version": SCHEMA_VERSION,
        **from_scores(run.scores, sequence, calibration, run.anytime_scores, notes),
        **appearance(run, sequence.home, notes),
        "drift": drift(run, sequence, notes),
        "scales": adapter_scales(run, sequence),
        "resources": resources(run.info["steps"]),
        "calibration": {key: recorded[key] for key in ("file", "sha256")}
        if scale(calibration, sequence.order)
        else None,
        "notes": notes,
    }
    RunFolder(path).write_sealed(names.METRICS, metrics)
    return metrics


def from_scores(
    scores: pd.DataFrame,
    sequence: SequenceSpec,
    calibration: Calibration | None,
    within: pd.DataFrame | None,
    notes: list[str],
) -> dict[str, Any]:
    """The blocks of metrics.json that need only scores.

    Adds a note with the reason for each metric that is missing.

    Args:
        within: scores between updates (anytime.parquet); None where the run has none.
    """
    names = sequence.order
    classes = {name: sequence.reward(name) for name in sequence.rewards}
    tasks = {name: classes[name] for name in names}
    cells = score_array(scores, names)
    normal = scale(calibration, names)
    plain = c.Scale.from_row_0(names, [cls.direction for cls in tasks.values()], cells[0])
    scales: Scales = {"z": plain.z, "normalised": normal.normalise if normal else None}
    if normal is None:
        notes.append(
            f"{_why_not_normalised(calibration, names)}: metrics are in deviations over prompts (z), not normalised"
        )
    return {
        "rewards": names,
        "probes": sequence.probes,
        "units": {name: cls.unit for name, cls in classes.items()},
        "directions": {name: cls.direction for name, cls in classes.items()},
        **_continual(cells, tasks, scales, notes),
        "anytime": _anytime(within, scores, sequence, scales),
    }


def scale(calibration: Calibration | None, names: Sequence[str]) -> c.Scale | None:
    """The scale of N for these tasks; None if the calibration is missing, or lacks or refuses one of them.

    Raises UserError if, by its calibration, a task cannot be learned.
    """
    entries = {} if calibration is None else calibration.rewards
    if any(name not in entries or entries[name].u is None or entries[name].refused for name in names):
        return None
    return c.Scale.from_calibration({name: entries[name].model_dump() for name in names}, names)


def _why_not_normalised(calibration: Calibration | None, names: Sequence[str]) -> str:
    entries = {} if calibration is None else calibration.rewards
    refused = [
        f"{name} {entries[name].refused}" for name in names if name in entries and entries[name].refused
    ]
    return "; ".join(refused) or "no calibration for these settings"


def score_array(scores: pd.DataFrame, names: Sequence[str]) -> Array:
    """The score of each step, reward and prompt, averaged over samples: (rows, T, P)."""
    means = scores.groupby(["step", "reward", "prompt_id"])["score"].mean()
    table = means.unstack("prompt_id").sort_index()
    steps = table.index.get_level_values("step").unique()
    return np.stack([table.loc[[(step, name) for name in names]].to_numpy() for step in steps])


def _continual(
    cells: Array,
    tasks: Mapping[str, type[Reward]],
    scales: Scales,
    notes: list[str],
) -> dict[str, Any]:
    names, directions = list(tasks), [cls.direction for cls in tasks.values()]
    if len(cells) != len(names) + 1:
        notes.append(
            f"{len(cells)} of {len(names) + 1} steps are complete: the continual metrics need all steps"
        )
        none = dict.fromkeys(("raw", "z", "normalised"))
        return {"continual": none, "retain": dict.fromkeys(names), "retain_excluded": []}
    raw = _block(np.asarray(directions)[:, None] * cells)
    if len({cls.unit for cls in tasks.values()}) > 1:
        # A mean over rewards of different units has no meaning. The matrices stay, as columns are separate.
        raw = {k: v if isinstance(v, list) else None for k, v in raw.items()}
    retained = c.retain(cells, directions)
    return {
        "continual": {"raw": raw} | {name: _block(to(cells)) if to else None for name, to in scales.items()},
        "retain": dict(zip(names, retained.values.tolist(), strict=True)),
        "retain_excluded": [
            name for name, excluded in zip(names, retained.excluded, strict=True) if excluded
        ],
    }


def _anytime(
    within: pd.DataFrame | None, scores: pd.DataFrame, sequence: SequenceSpec, scales: Scales
) -> dict[str, Any] | None:
    """AAA, MINPERF and WC-ACC over the evaluations within tasks and at the ends of tasks.

    None where the run has no evaluations within tasks, or is not complete.
    """
    T = len(sequence.order)
    if within is None or scores["step"].max() < T:
        return None
    ends = scores[scores["step"] > 0].assign(update=np.inf)
    table = pd.concat([within, ends])
    moments = table[["step", "update"]].drop_duplicates().sort_values(["step", "update"])
    number = table.groupby(["step", "update"]).ngroup()  # numbers in the order of `moments`
    cells = score_array(table.assign(step=number), sequence.order)
    return {
        "every": sequence.evaluation.every,
        **{name: anytime(to(cells), moments["step"].tolist()) if to else None for name, to in scales.items()},
    }


def _block(cells: Array) -> dict[str, Any]:
    return c.continual(cells.mean(axis=2), cells)


def resources(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Totals over the steps of run.json, the largest peak of memory, and the sizes of the last step."""
    summed = (
        "train_seconds",
        "evaluation_seconds",
        "denoiser_forwards",
        "denoiser_backwards",
        "reward_calls",
    )
    last = ("trainable_bytes", "stored_bytes", "carried_bytes")
    return {
        **{key: sum(step[key] for step in steps) for key in summed},
        "peak_memory_bytes": max((step["peak_memory_bytes"] for step in steps), default=None),
        **{key: steps[-1][key] if steps else None for key in last},
    }
