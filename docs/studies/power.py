"""How many seeds tell methods apart, and which metrics agree: Markdown tables from stored runs.

python docs/studies/power.py seeds leaderboard shapes-ril given
python docs/studies/power.py agreement leaderboard shapes-ril given
python docs/studies/power.py tenth leaderboard shapes-ril given
"""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pandas as pd
from scipy.stats import nct, spearmanr
from scipy.stats import t as student
from tables import as_markdown, difference, measured

from ril_bench.metrics.statistics import CLAIM_UNITS, mean_interval
from ril_bench.reporting.columns import COLUMNS
from ril_bench.reporting.glossary import better
from ril_bench.reporting.place import chosen_places
from ril_bench.reporting.summary import BASELINE, load, runs_table

METRICS = ("FINAL", "FORGET", "LEARN", "drift", "SSIM to step 0")
POWER, LEVEL = 0.8, 0.05
MOST = 1000  # seeds; more are not asked for
SUBSETS = 400


def seeds(folder: str, sequence: str, order: str) -> str:
    """A row a method: for each metric the number of seeds that would show its paired difference to naive.

    That is the smallest number at which a paired t test at .05 finds a difference of the measured size with probability
    .8. Behind it, the share of subsets of five of the measured seeds that find it.
    """
    rows = _runs(folder, sequence, order)
    values = {name: own.set_index("seed") for name, own in rows.groupby("method", sort=False)}
    lines = []
    for name in values:
        gaps = [(values[name][metric] - values[BASELINE][metric]).dropna().to_numpy() for metric in METRICS]
        if name != BASELINE and min(map(len, gaps)) >= CLAIM_UNITS:
            lines.append([f"`{name}`", *map(_seeds_of, gaps)])
    return as_markdown(["method", *METRICS], lines)


def agreement(folder: str, sequence: str, order: str) -> str:
    """Spearman's rank correlation of two metrics over the means of methods, each turned so that higher is better."""
    rows = _runs(folder, sequence, order)
    names = [column.name for column in COLUMNS if column.name in (*METRICS, "FID")]
    means = rows.groupby("method")[names].mean()
    turned = means * [better(name) for name in names]
    lines = [
        [first, *(f"{spearmanr(turned[first], turned[second]).statistic:.2f}" for second in names)]
        for first in names
    ]
    return as_markdown(["", *names], lines)


def tenth(folder: str, sequence: str, order: str) -> str:
    """A row a method: its differences to naive with the whole budget and with a tenth of it, over the same seeds.

    The last row has Spearman's rank correlation of both over the methods, naive among them. The runs with a tenth are
    in docs/studies/measured/tenth.csv.
    """
    short = measured("tenth").assign(method=lambda rows: rows["method"].str.partition("@")[0])
    whole = _runs(folder, sequence, order)
    whole = whole[whole["method"].isin(set(short["method"])) & whole["seed"].isin(set(short["seed"]))]
    budgets = [
        {name: own.set_index("seed") for name, own in rows.groupby("method")} for rows in (whole, short)
    ]
    metrics = ("LEARN", "FORGET", "FINAL")
    gaps = {
        name: [
            (rows[name][metric] - rows[BASELINE][metric]).tolist() for metric in metrics for rows in budgets
        ]
        for name in budgets[0]
    }
    lines = [
        [f"`{name}`", *(difference(mean_interval(gap)) for gap in own)]
        for name, own in gaps.items()
        if name != BASELINE
    ]
    means = np.array([[np.mean(gap) for gap in own] for own in gaps.values()]).reshape(len(gaps), -1, 2)
    rho = [f"{spearmanr(pair[:, 0], pair[:, 1]).statistic:.2f}" for pair in means.swapaxes(0, 1)]
    lines.append(["rank correlation", *(cell for one in rho for cell in ("", one))])
    return as_markdown(["method", *(head for metric in metrics for head in (metric, "a tenth"))], lines)


def needed(mean: float, deviation: float) -> int | None:
    """The smallest n at which the paired t test has the power; None where it is more than MOST."""
    effect = abs(mean) / deviation if deviation else np.inf
    return next((n for n in range(2, MOST) if power(effect, n) >= POWER), None)


def power(effect: float, n: int) -> float:
    """The probability that a two-sided t test at LEVEL with n pairs finds a difference of `effect` deviations."""
    if not np.isfinite(effect):
        return 1.0
    critical = student.ppf(1 - LEVEL / 2, n - 1)
    shift = effect * np.sqrt(n)
    return float(nct.sf(critical, n - 1, shift) + nct.cdf(-critical, n - 1, shift))


def shown_by(gaps: np.ndarray, n: int) -> float:
    """The share of subsets of n pairs whose 95% interval is on the side of the mean of all pairs."""
    subsets = np.array(list(itertools.combinations(gaps, n)))
    if len(subsets) > SUBSETS:
        subsets = subsets[np.random.default_rng(0).choice(len(subsets), SUBSETS, replace=False)]
    half = student.ppf(1 - LEVEL / 2, n - 1) * subsets.std(axis=1, ddof=1) / np.sqrt(n)
    return float((np.sign(gaps.mean()) * subsets.mean(axis=1) > half).mean())


def _seeds_of(gaps: np.ndarray) -> str:
    found = needed(float(gaps.mean()), float(gaps.std(ddof=1)))
    return f"{f'over {MOST}' if found is None else found} ({shown_by(gaps, CLAIM_UNITS):.2f})"


def _runs(folder: str, sequence: str, order: str) -> pd.DataFrame:
    rows = runs_table(chosen_places(load([folder]), sequence=[sequence], order=[order]))
    return rows[rows["status"] == "complete"]


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(globals()[name](*arguments), end="")
