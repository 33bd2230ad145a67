"""The drift of each step, from the rollouts on which the evaluation measured it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ril_bench.metrics.statistics import mean_interval
from ril_bench.sequences.spec import Sequence
from ril_bench.storage import names
from ril_bench.storage.read import StoredRun


def drift(run: StoredRun, sequence: Sequence, notes: list[str]) -> dict[str, Any] | None:
    """The block `drift` of metrics.json: the mean over rollouts, and its standard error over prompts.

    None, with a note that gives the reason, where the sampler has no noise, or where no step has drift. Raises
    UserError where a file is damaged.
    """
    sampler = sequence.sampler
    if sampler.eta == 0:
        notes.append(
            "no drift: the sampler has no noise (sampler.eta is 0), so two models have no finite path KL"
        )
        return None
    if not run.drift:
        notes.append("no drift: an earlier version evaluated this run, or the run has no trained step yet")
        return None
    return {
        "convention": {
            "drift": "path KL in nats of the step's sampling chain from that of the other model",
            "rollouts": max(map(len, run.drift.values())),
            "sampler": f"{sampler.steps} steps, eta {sampler.eta:g}, guidance {sampler.guidance:g}",
        },
        "steps": [
            {"step": step} | _mean(table, names.TO_0) | _mean(table, names.TO_PREVIOUS)
            for step, table in run.drift.items()
        ],
    }


def _mean(table: pd.DataFrame, name: str) -> dict[str, float]:
    """The mean of a column over prompts, each the mean of its rollouts, and its standard error."""
    found = mean_interval(table.groupby("prompt_id")[name].mean().tolist())
    return {name: found.mean, f"{name}_se": found.se}
