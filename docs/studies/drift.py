"""What forgetting depends on: drift, learning, and what is left of the methods when both are held equal.

python docs/studies/drift.py correlations leaderboard shapes-ril given
python docs/studies/drift.py left leaderboard shapes-ril given
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from scipy.stats import spearmanr, ttest_1samp
from tables import as_markdown, difference

from ril_bench.metrics.statistics import CLAIMED_P, holm, mean_interval
from ril_bench.reporting.place import chosen_places
from ril_bench.reporting.summary import load, runs_table

#: what FORGET is predicted from; drift spans two decades, so its logarithm
PREDICTORS = {"drift": ("log drift",), "LEARN": ("LEARN",), "both": ("log drift", "LEARN")}


def correlations(folder: str, sequence: str, order: str) -> str:
    """Rank correlations with FORGET over the methods of a seed, and shares of its variance: means over seeds."""
    runs = _runs(folder, sequence, order)
    rows: dict[str, list[float]] = {}
    for _, of_seed in runs.groupby("seed"):
        ranked = of_seed[["FORGET", "log drift", "LEARN"]].rank()
        for name in ("log drift", "LEARN"):
            label = name.removeprefix("log ")
            rows.setdefault(f"FORGET and {label}", []).append(
                spearmanr(of_seed["FORGET"], of_seed[name]).statistic
            )
        for name, held in (("log drift", "LEARN"), ("LEARN", "log drift")):
            label, other = name.removeprefix("log "), held.removeprefix("log ")
            parts = [_residuals(ranked, target, (held,)) for target in ("FORGET", name)]
            rows.setdefault(f"FORGET and {label}, {other} held equal", []).append(np.corrcoef(*parts)[0, 1])
        for name, predictors in PREDICTORS.items():
            unexplained = _residuals(of_seed, "FORGET", predictors).var() / of_seed["FORGET"].var(ddof=0)
            explain = "explain" if name == "both" else "explains"
            label = f"share of the variance of FORGET that {name} {explain}"
            rows.setdefault(label, []).append(1 - unexplained)
    lines = []
    for label, values in rows.items():
        found = mean_interval(values)
        lines.append([label, f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"])
    return as_markdown(["over the methods of a seed", "mean over seeds"], lines)


def left(folder: str, sequence: str, order: str) -> str:
    """A row a method: FORGET minus what the other methods of its seed predict from its drift and LEARN.

    The prediction is a least-squares fit over the methods that are no oracles, without the method itself. A * marks a
    difference whose p value is below .05 after Holm's correction for all methods.
    """
    runs = _runs(folder, sequence, order)
    gaps = {
        name: {label: _unpredicted(runs, str(name), predictors) for label, predictors in PREDICTORS.items()}
        for name in runs["method"].unique()
    }
    shown = {
        label: {
            name
            for name, p in holm({name: _p(own[label]) for name, own in gaps.items()}).items()
            if p < CLAIMED_P
        }
        for label in PREDICTORS
    }
    lines = [
        [
            f"`{name}`",
            *(
                difference(mean_interval(values)) + " *" * (name in shown[label])
                for label, values in own.items()
            ),
        ]
        for name, own in sorted(gaps.items(), key=lambda item: np.mean(item[1]["both"]))
    ]
    return as_markdown(
        ["method", *(f"at equal {label}" for label in ("drift", "LEARN", "drift and LEARN"))], lines
    )


def _runs(folder: str, sequence: str, order: str) -> pd.DataFrame:
    """A row a run of the methods that are no oracles."""
    rows = runs_table(chosen_places(load([folder]), sequence=[sequence], order=[order]))
    rows = rows[(rows["status"] == "complete") & ~rows["oracle"].astype(bool)]
    return rows.assign(**{"log drift": np.log(rows["drift"])})


def _residuals(rows: pd.DataFrame, target: str, predictors: tuple[str, ...]) -> np.ndarray:
    """What a least-squares fit with a constant leaves of the target; (n,)."""
    return rows[target].to_numpy(float) - _columns(rows, predictors) @ _fit(rows, target, predictors)


def _fit(rows: pd.DataFrame, target: str, predictors: tuple[str, ...]) -> np.ndarray:
    """The weights of a least-squares fit with a constant; (1 + predictors,)."""
    return np.linalg.lstsq(_columns(rows, predictors), rows[target].to_numpy(float), rcond=None)[0]


def _unpredicted(runs: pd.DataFrame, method: str, predictors: tuple[str, ...]) -> list[float]:
    """Of each seed, FORGET minus the prediction of a fit to the other methods of that seed."""
    found = []
    for _, of_seed in runs.groupby("seed"):
        own, others = of_seed[of_seed["method"] == method], of_seed[of_seed["method"] != method]
        predicted = _columns(own, predictors) @ _fit(others, "FORGET", predictors)
        found += (own["FORGET"].to_numpy(float) - predicted).tolist()
    return found


def _columns(rows: pd.DataFrame, predictors: tuple[str, ...]) -> np.ndarray:
    """A constant and the predictors; (n, 1 + predictors)."""
    return np.column_stack([np.ones(len(rows)), rows[list(predictors)].to_numpy(float)])


def _p(values: list[float]) -> float:
    """Of the t test that the mean is 0."""
    return float(ttest_1samp(values, 0).pvalue)


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(globals()[name](*arguments), end="")
