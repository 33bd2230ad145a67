"""RID's unpublished choices: tables by the rule that docs/studies/rid.yaml states.

python docs/studies/rid_options.py collect runs/rid > docs/studies/measured/rid.csv
python docs/studies/rid_options.py variants
python docs/studies/rid_options.py effects
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from tables import as_markdown, difference, measured

from ril_bench.metrics.statistics import Interval, mean_interval

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
    if method["name"] == "rid":
        options = {"space": "x0"} | options  # the only one, since this study
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
    chosen = _chosen(rows, naive)
    passing = {variant: runs for variant, runs in chosen.items() if runs is not None}
    before = passing[DEFAULT].set_index("seed")["FINAL"]
    lines = []
    for variant, runs in sorted(passing.items(), key=lambda item: -item[1]["FINAL"].mean()):
        gaps = (runs.set_index("seed")["FINAL"] - before).dropna().tolist()
        shown = "-" if variant == DEFAULT else _interval(mean_interval(gaps))
        lines.append([_words(variant), f"{runs['strength'].iloc[0]:g}", *_means(runs, naive), shown])
    lines += [[_words(variant), "none", *"----"] for variant, runs in chosen.items() if runs is None]
    lines.append(["naive", "-", *_means(naive, naive), "-"])
    head = ["space, teacher, decay", "strength", "gains kept", "FINAL", "FORGET"]
    return as_markdown([*head, "FINAL minus the default's"], lines)


def _means(runs: pd.DataFrame, naive: pd.DataFrame) -> list[str]:
    """The gains as shares of naive tuning's, FINAL and FORGET."""
    shares = ", ".join(f"{100 * runs[name].mean() / naive[name].mean():.0f}%" for name in GAINS)
    return [shares, f"{runs['FINAL'].mean():.3f}", f"{runs['FORGET'].mean():.3f}"]


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


def _words(variant: tuple[Any, ...]) -> str:
    space, teacher, decay, corrected = variant
    return f"{space}, {teacher}, {decay:g}{' corrected' if corrected else ''}"


def _interval(found: Interval) -> str:
    return difference(found, places=3)


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(globals()[name](*arguments), end="")
