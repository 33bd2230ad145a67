"""The rewards at several scales of each step's adapter."""

from __future__ import annotations

from typing import Any

from ril_bench.sequences.spec import Sequence
from ril_bench.storage.read import StoredRun


def adapter_scales(run: StoredRun, sequence: Sequence) -> list[dict[str, Any]] | None:
    """The block `scales` of metrics.json: a row for each step and scale, with the mean of each reward.

    Scale 0 is step 0 and scale 1 is the step itself, so their rows are those of the matrix. None where the sequence
    has no evaluation.scales.
    """
    scales = sequence.evaluation.scales
    if not scales:
        return None
    rows_of_matrix = {
        step: dict(zip(run.columns, row, strict=True))
        for step, row in zip(run.steps, run.matrix, strict=True)
    }
    found = []
    for step in rows_of_matrix.keys() - {0}:
        inner = {}
        if step in run.scales:
            means = (
                run.scales[step].groupby(["scale", "reward"], sort=False)["score"].mean().unstack("reward")
            )
            inner = dict(zip(means.index.tolist(), means.to_dict("records"), strict=True))
        ends = {0.0: rows_of_matrix.get(0), 1.0: rows_of_matrix[step]}
        for scale in sorted(set(scales)):
            if rewards := (ends | inner).get(float(scale)):
                found.append({"step": step, "scale": float(scale), "rewards": rewards})
    return sorted(found, key=lambda row: (row["step"], row["scale"]))
