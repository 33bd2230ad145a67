"""Forgetting of image structure beside forgetting of rewards: Markdown tables from stored runs.

python docs/studies/structure.py steps leaderboard
python docs/studies/structure.py agreement leaderboard
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pandas as pd
from tables import as_markdown

from ril_bench.metrics.continual import forget
from ril_bench.reporting.place import chosen_places
from ril_bench.reporting.summary import BASELINE, load
from ril_bench.storage.read import StoredRun, dig

SEQUENCE, ORDER = "shapes-ril", "given"
STRUCTURE = {"SSIM": "ssim", "MS-SSIM": "ms_ssim", "edges": "edges"}
SHOWN = {
    **{f"{name} to step 0": 2 for name in STRUCTURE},
    "SSIM to the step before": 2,
    "FID": 0,
    "diversity": 2,
    "attributes": 2,
    "clip_score": 1,
    "lost": 2,
}
#: columns of the table of steps; the other metrics are in the correlations
OF_A_STEP = ("SSIM to step 0", "SSIM to the step before", "FID", "attributes", "lost")
STRUCTURAL = (*(f"{name} to step 0" for name in STRUCTURE), "SSIM to the step before")
OTHERS = ("FID", "diversity", "attributes", "clip_score", "lost")


def steps(place: str) -> str:
    """A row a method and step, means over seeds. *lost*: the fall of the earlier rewards from their best, in sigma."""
    rows = _table(place).groupby(["method", "step"], sort=False)[list(OF_A_STEP)].mean()
    lines = [
        [f"`{method}`", str(step), *(f"{row[name]:.{SHOWN[name]}f}" for name in OF_A_STEP)]
        for (method, step), row in rows.iterrows()
    ]
    return as_markdown(["method", "step", *OF_A_STEP], lines)


def agreement(place: str) -> str:
    """Spearman's correlation of the structural metrics with the others, within steps 2 and 3, over all runs."""
    table = _table(place)
    lines = []
    for step in (2, 3):
        ranks = table[table["step"] == step][list(SHOWN)].rank().corr()
        lines += [
            [name, str(step), *(f"{ranks.loc[name, other]:.2f}" for other in OTHERS)] for name in STRUCTURAL
        ]
    return as_markdown(["", "step", *OTHERS], lines)


def _table(place: str) -> pd.DataFrame:
    runs = chosen_places(load([place]), sequence=[SEQUENCE], order=[ORDER])
    frame = pd.DataFrame([row for run in runs for row in _rows(run)])
    return frame.sort_values("method", kind="stable", key=lambda names: names.where(names != BASELINE, ""))


def _rows(run: StoredRun) -> Iterator[dict[str, Any]]:
    """A row for each step from 1 on."""
    for structure in dig(run.metrics, "structure", "steps"):
        step = structure["step"]
        yield {
            "method": run.name,
            "step": step,
            **{f"{name} to step 0": structure[f"{key}_to_0"] for name, key in STRUCTURE.items()},
            "SSIM to the step before": structure["ssim_to_previous"] if step > 1 else structure["ssim_to_0"],
            "FID": _at(run, "fidelity", step)["fid"],
            "diversity": _at(run, "diversity", step)["pairwise"] / _at(run, "diversity", 0)["pairwise"],
            **{name: run.matrix[step][run.columns.index(name)] for name in ("attributes", "clip_score")},
            "lost": 0.0 if step == 1 else forget(dig(run.metrics, "continual", "z", "N"), step),
        }


def _at(run: StoredRun, part: str, step: int) -> dict[str, float]:
    return next(row for row in dig(run.metrics, part, "steps") if row["step"] == step)


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(globals()[name](*arguments), end="")
