"""Naive tuning that is pushed less far: what a method that learns less than naive tuning is to be compared with.

naive="ril-bench grid --sequence shapes-ril -m naive --seed 0-9"
$naive --set budget.until=0.22 --set tasks.1.budget.until=0.16 --out runs/two-fifths
$naive --set budget.until=0.275 --set tasks.1.budget.until=0.2 --out runs/half
$naive --set budget.until=0.367 --set tasks.1.budget.until=0.267 --out runs/two-thirds
$naive --set budget.until=0.458 --set tasks.1.budget.until=0.333 --out runs/five-sixths
pushes="runs/two-fifths runs/half runs/two-thirds runs/five-sixths"
python docs/studies/pushes.py collect $pushes > docs/studies/measured/pushes.csv
python docs/studies/pushes.py at_equal_learning
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp
from tables import as_markdown, difference, measured

from ril_bench import load_sequence
from ril_bench.metrics.interpolation import at_level
from ril_bench.metrics.statistics import CLAIMED_P, holm, mean_interval, paired_difference, paired_p
from ril_bench.reporting.place import Place
from ril_bench.reporting.summary import by_seed, load, runs_table
from ril_bench.scoring.score import from_scores
from ril_bench.sequences.calibrations import Calibration

PLACE = Place("shapes-ril", "given", "draft")
FULL = "full"
METRICS = ("FORGET", "FINAL")
CALIBRATION = Path(__file__).parents[2] / "tasks" / f"{PLACE.sequence}.calibration.json"


def collect(*folders: str) -> str:
    """A row a run: the metrics of naive tuning under the calibration that ships, which is of the whole push."""
    calibration = Calibration.model_validate_json(CALIBRATION.read_bytes())
    spec = load_sequence(PLACE.sequence)
    rows = []
    for folder in folders:
        for run in load([folder]):
            found = from_scores(run.scores, spec, calibration, None, [])["continual"]["normalised"]
            values = {metric: round(found[metric], 4) for metric in ("LEARN", *METRICS)}
            rows.append({"push": Path(folder).name, "seed": run.seed, **values})
    return pd.DataFrame(rows).sort_values(["push", "seed"]).to_csv(index=False, lineterminator="\n")


def at_equal_learning() -> str:
    """A row for each method that learns less than naive tuning: minus naive tuning, where that learns as much.

    A * marks a difference whose p value is below .05 after Holm's correction for these methods.
    """
    entries = PLACE.within(runs_table(load([Path(__file__).parents[2] / "leaderboard"])))
    entries = entries[~entries["oracle"].astype(bool)]
    learned = {str(name): by_seed(runs, "LEARN") for name, runs in entries.groupby("method")}
    less = [name for name in learned if _learns_less(learned[name], learned["naive"])]
    gaps = {
        metric: {
            name: _minus_naive(entries[entries["method"] == name], learned[name], entries, metric)
            for name in less
        }
        for metric in METRICS
    }
    shown = {metric: _shown(found) for metric, found in gaps.items()}
    lines = []
    for name in sorted(less, key=lambda name: np.mean(list(learned[name].values()))):
        cells = [f"{mean_interval(list(learned[name].values())).mean:.2f}"]
        for metric in METRICS:
            gap = gaps[metric][name]
            cells.append(
                "outside the curve"
                if gap is None
                else difference(mean_interval(list(gap))) + " *" * (name in shown[metric])
            )
        lines.append([f"`{name}`", *cells])
    return as_markdown(["method", "LEARN", *(f"{metric} minus naive's" for metric in METRICS)], lines)


def _learns_less(own: dict[int, float], naive: dict[int, float]) -> bool:
    return paired_difference(own, naive).mean < 0 and paired_p(own, naive) < CLAIMED_P


def _shown(gaps: Mapping[str, np.ndarray | None]) -> set[str]:
    """The methods whose difference is claimed. One outside the curve counts in Holm's correction: it was planned."""
    p = {name: np.nan if gap is None else float(ttest_1samp(gap, 0).pvalue) for name, gap in gaps.items()}
    return {name for name, adjusted in holm(p).items() if adjusted < CLAIMED_P}


def _minus_naive(
    own: pd.DataFrame, learned: dict[int, float], entries: pd.DataFrame, metric: str
) -> np.ndarray | None:
    """A method's metric minus naive tuning's at the method's LEARN, a value a seed; None outside of the curve."""
    naive = entries[entries["method"] == "naive"].assign(push=FULL)
    curve = pd.concat([measured("pushes"), naive[["push", "seed", "LEARN", *METRICS]]])
    seeds = sorted(learned)
    table = curve[curve["seed"].isin(seeds)].pivot(index="push", columns="seed", values=["LEARN", metric])
    table = table.loc[table["LEARN"].mean(axis=1).sort_values().index]
    x, y = (table[column][seeds].to_numpy(float) for column in ("LEARN", metric))
    there = at_level(x, y, [learned[seed] for seed in seeds])
    values = by_seed(own, metric)
    return None if there is None else np.array([values[seed] for seed in seeds]) - there


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(globals()[name](*arguments), end="")
