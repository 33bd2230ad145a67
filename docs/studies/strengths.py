"""Penalties at three strengths: what each learns and forgets.

The runs at a strength that `ril-bench tune` did not choose are in docs/studies/measured/strengths.csv; the others are
entries of the leaderboard.

python docs/studies/strengths.py points
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pandas as pd
from tables import as_markdown, difference, measured

from ril_bench.metrics.statistics import mean_interval, paired_difference
from ril_bench.reporting.place import Place
from ril_bench.reporting.summary import by_seed, load, runs_table

PLACE = Place("shapes-ril", "given", "draft")
TUNED = {"rid": 10.0, "lwf": 10.0, "ewc": 0.1}  # the defaults, which `tune` chose
BESIDE = ("naive", "lora_per_task", "soup")  # methods without a strength
METRICS = ("LEARN", "FORGET", "FINAL")


@cache
def runs() -> pd.DataFrame:
    """A row a run, over the seeds that all strengths have."""
    others = PLACE.within(measured("strengths"))
    folder = Path(__file__).parents[2] / "leaderboard"
    entries = PLACE.within(runs_table(load([folder])))
    entries = entries[entries["method"].isin([*TUNED, *BESIDE]) & entries["seed"].isin(set(others["seed"]))]
    return pd.concat([entries, others], ignore_index=True)


def curves() -> dict[str, dict[str, float]]:
    """{method: {its name in tables: its strength}}, ascending."""
    found = {}
    for method, tuned in TUNED.items():
        labels = [name for name in runs()["method"].unique() if name.startswith(f"{method}@")]
        members = {name: float(name.partition("=")[2]) for name in labels} | {method: tuned}
        found[method] = dict(sorted(members.items(), key=lambda item: item[1]))
    return found


def points() -> str:
    """A row a method and strength: LEARN, FORGET and FINAL, and the paired differences to naive."""
    rows = [(name, "") for name in BESIDE]
    rows += [(name, f"{value:g}") for curve in curves().values() for name, value in curve.items()]
    naive = {metric: of_method("naive", metric) for metric in METRICS}
    lines = []
    for name, strength in rows:
        cells = []
        for metric in METRICS:
            own = of_method(name, metric)
            found, gap = mean_interval(list(own.values())), paired_difference(own, naive[metric])
            cells.append(f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]")
            cells.append("" if name == "naive" else difference(gap))
        lines.append([f"`{name.partition('@')[0]}` {strength}".rstrip(), *cells])
    heads = [cell for metric in METRICS for cell in (metric, "minus naive's")]
    return as_markdown(["method and strength", *heads], lines)


def of_method(name: str, metric: str) -> dict[int, float]:
    """A metric of a method, by seed."""
    return by_seed(runs()[runs()["method"] == name], metric)


if __name__ == "__main__":
    print(globals()[sys.argv[1]](), end="")
