"""Each method in a sentence, and its rank, from the leaderboard's entries.

python docs/studies/verdicts.py sentences given
"""

from __future__ import annotations

import math
import sys
from functools import cache
from pathlib import Path

import pandas as pd
from tables import as_markdown

from ril_bench.leaderboard import board
from ril_bench.metrics.statistics import CLAIMED_P
from ril_bench.reporting.place import Place, by_place
from ril_bench.reporting.summary import BASELINE, table
from ril_bench.reporting.text import fixed, signed

SEQUENCE, ORDER = "shapes-ril", "given"
#: metric: whether higher is better, and the words for a difference to naive tuning in either direction
WORDS = {
    "FORGET": (-1, ("forgets less", "forgets more")),
    "FINAL": (1, ("ends higher", "ends lower")),
    "LEARN": (1, ("learns more", "learns less")),
}


@cache
def everything_measured() -> pd.DataFrame:
    """The table of all entries, each at its level: a row for each sequence, order, tuner, method and metric."""
    runs, _ = board.read_board(Path(__file__).parents[2] / "leaderboard")
    return table(runs)


def measured_on_the_leaderboard(order: str = ORDER) -> pd.DataFrame:
    """The table of the sequence in an order: a row for each method and metric."""
    rows = everything_measured()
    return rows[(rows["sequence"] == SEQUENCE) & (rows["order"] == order)]


def helped(name: str) -> str:
    """Where a method was shown to forget less than naive tuning, or to end higher."""
    found = []
    for place, rows in by_place(everything_measured()):
        own = rows[(rows["method"] == name) & (rows["p_holm"] < CLAIMED_P)].set_index("figure")
        shown = [
            words[0]
            for metric, (better, words) in WORDS.items()
            if metric != "LEARN" and metric in own.index and better * own.loc[metric, "difference"] > 0
        ]
        if shown:
            found.append(f"{_named(place)}: {', '.join(shown)}")
    return "; ".join(found) or "not shown"


def _named(place: Place) -> str:
    """The sequence and its order; all entries have one tuner."""
    sequence, *order = place.words[:-1]
    return ", ".join([f"`{sequence}`", *order])


def sentences(order: str) -> str:
    """A row a method: its rank by FINAL among the methods that are no oracles, and its differences to naive."""
    measured = measured_on_the_leaderboard(order)
    ranks = measured[measured["figure"] == "FINAL"].sort_values("rank", na_position="last")
    lines = [
        [f"`{row['method']}`", rank(row), verdict(row["method"], measured)] for _, row in ranks.iterrows()
    ]
    return as_markdown(["method", "rank by FINAL", "in words"], lines, words=True)


def rank(row: pd.Series) -> str:
    if math.isnan(row["rank"]):
        return "oracle" if row["oracle"] else "–"
    return f"{row['rank']:.0f} [{row['rank_low']:.0f}, {row['rank_high']:.0f}]"


def verdict(name: str, measured: pd.DataFrame) -> str:
    """The paired differences to naive tuning; one counts if its p value is below .05 after Holm's correction."""
    own = measured[measured["method"] == name].set_index("figure")
    if own.empty:
        return "not measured yet"
    if name == BASELINE:
        forget = own.loc["FORGET"]
        return f"forgets: FORGET {fixed(forget['mean'])} {interval(forget['low'], forget['high'])}"
    parts = []
    for metric, (better, words) in WORDS.items():
        row = own.loc[metric]
        shown = row["p_holm"] < CLAIMED_P
        good, bad = words
        said = (good if better * row["difference"] > 0 else bad) if shown else f"{metric} not told apart"
        between = interval(row["difference_low"], row["difference_high"])
        parts.append(f"{said}: {signed(row['difference'], 2)} {between}")
    return "; ".join(parts)


def interval(low: float, high: float) -> str:
    return f"[{fixed(low)}, {fixed(high)}]"


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(globals()[name](*arguments), end="")
