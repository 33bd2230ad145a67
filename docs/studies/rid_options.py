"""RID's unpublished choices: the tables of docs/results/rid.md, by the rule that docs/studies/rid.yaml states.

python docs/studies/rid_options.py collect runs/rid > docs/studies/measured/rid.csv
python docs/studies/rid_options.py variants
python docs/studies/rid_options.py effects
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from tables import as_markdown, measured

from ril_bench.metrics.statistics import Interval, mean_interval
from ril_bench.reporting.text import signed

OPTIONS = ("space", "teacher", "decay", "bias_correction")
DEFAULT = ("x0", "restart", 0.99, False)  # the variant before this study
KEPT = 0.8  # the share of naive tuning's gains that a run must reach
MATTERS = 0.1  # sigma; a smaller effect whose interval contains 0 does not matter
GAINS = ("gain aesthetic", "gain preference")
#: The contrasts of each option: (a, b) is the effect of b instead of a.
CONTRASTS: dict[str, tuple[tuple[Any, Any], ...]] = {
    "space": (("x0", "noise"), ("x0", "image")),
    "teacher": (("restart", "keep"),),
    "decay": ((0.99, 0.9), (0.99, 1.0)),
    "bias_correction": ((False, True),),
}


def collect(*folders: str) -> str:
    """A row a run that is complete, as CSV: options, strength, seed, both gains in sigma, FINAL and FORGET (z)."""
    files = sorted(file for folder in folders for file in Path(folder).rglob("run.json"))
    rows = {(row["label"], row["seed"]): row for row in map(_row, files) if row}
    table = pd.DataFrame(rows.values()).sort_values(["label", "seed"])
    return table.to_csv(index=False)


def _row(file: Path) -> dict[str, Any] | None:
    run = json.loads(file.read_text())
    if run["status"] != "complete":
        return None
    z = json.loads((file.parent / "metrics.json").read_text())["continual"]["z"]
    method, effect = run["method"], z["effect"]
    options = {**method["options"], **method["resolved"]}
    return {
        "label": method["label"] or method["name"],
        **{name: options.get(name) for name in OPTIONS},
        "strength": options.get("strength"),
        "seed": run["seed"],
        **{name: round(effect[i][i], 4) for i, name in enumerate(GAINS)},
        **{name: round(z[name], 4) for name in ("FINAL", "FORGET")},
    }


def variants() -> str:
    """A row a variant at its strongest strength that keeps 80% of both gains; the highest FINAL first."""
    rows, naive = _runs()
    before = _chosen(rows, naive)[DEFAULT]
    lines = []
    for variant, runs in sorted(
        _chosen(rows, naive).items(), key=lambda item: -_mean(item[1], "FINAL", item[1] is not None)
    ):
        if runs is None:
            lines.append([*_words(variant), "none", *["-"] * 4])
            continue
        gap = mean_interval(list(_paired(runs, before, "FINAL"))) if variant != DEFAULT else None
        lines.append(
            [
                *_words(variant),
                f"{runs['strength'].iloc[0]:g}",
                ", ".join(f"{100 * runs[name].mean() / naive[name].mean():.0f}%" for name in GAINS),
                f"{runs['FINAL'].mean():.3f}",
                f"{runs['FORGET'].mean():.3f}",
                "-" if gap is None else _interval(gap),
            ]
        )
    own = [
        *["-"] * 4,
        "-",
        "100%, 100%",
        f"{naive['FINAL'].mean():.3f}",
        f"{naive['FORGET'].mean():.3f}",
        "-",
    ]
    head = ["space", "teacher", "decay", "corrected", "strength", "gains kept", "FINAL", "FORGET"]
    return as_markdown([*head, "FINAL minus the default's"], [*lines, ["naive", *own[1:]]])


def effects() -> str:
    """A row a contrast: the effect on FINAL and FORGET over all pairs that differ in this option alone."""
    rows, _ = _runs()
    rows = rows.assign(level=rows.groupby(list(OPTIONS))["strength"].rank("dense"))
    lines = []
    for option, pairs in CONTRASTS.items():
        others = [name for name in (*OPTIONS, "level", "seed") if name != option]
        for a, b in pairs:
            one, two = (rows[rows[option] == value].set_index(others) for value in (a, b))
            found = [mean_interval((two[name] - one[name]).dropna().tolist()) for name in ("FINAL", "FORGET")]
            matters = any(abs(of.mean) >= MATTERS or not of.low <= 0 <= of.high for of in found)
            lines.append(
                [option, f"{b} for {a}", str(found[0].n), *map(_interval, found), "yes" if matters else "no"]
            )
    return as_markdown(["option", "change", "pairs", "FINAL", "FORGET", "matters"], lines)


def _runs() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of RID, and those of naive tuning."""
    rows = measured("rid")
    naive = rows["label"] == "naive"
    return rows[~naive].astype({"bias_correction": bool}), rows[naive]


def _chosen(rows: pd.DataFrame, naive: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame | None]:
    """Of each variant the runs of its strongest strength that passes; None where none does."""
    found: dict[tuple[Any, ...], pd.DataFrame | None] = {}
    for variant, own in rows.groupby(list(OPTIONS)):
        passing = [
            runs
            for _, runs in own.groupby("strength")
            if all(runs[name].mean() >= KEPT * naive[name].mean() for name in GAINS)
        ]
        found[variant] = passing[-1] if passing else None
    return found


def _paired(runs: pd.DataFrame, others: pd.DataFrame | None, metric: str) -> Iterator[float]:
    assert others is not None, "the default of before passes at no strength"
    theirs = others.set_index("seed")[metric]
    return (row[metric] - theirs[row["seed"]] for _, row in runs.iterrows())


def _mean(runs: pd.DataFrame | None, metric: str, passes: bool) -> float:
    return runs[metric].mean() if runs is not None and passes else -float("inf")


def _words(variant: tuple[Any, ...]) -> list[str]:
    space, teacher, decay, corrected = variant
    return [space, teacher, f"{decay:g}", "yes" if corrected else "no"]


def _interval(found: Interval) -> str:
    return f"{signed(found.mean, 3)} [{found.low:.3f}, {found.high:.3f}]"


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(globals()[name](*arguments), end="")
