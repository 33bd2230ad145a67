"""The Markdown tables of docs/results/, from the numbers in docs/studies/measured/.

python docs/studies/tables.py methods
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd

MEASURED = Path(__file__).parent / "measured"
ORACLES = {"joint", "replay"}
SHOWN = ["FINAL", "LEARN", "FORGET", "WORST", "SSIM", "FID"]
LESS_NAIVE = ["FINAL", "LEARN", "BWT", "WORST", "SSIM", "FID"]


def methods() -> str:
    """A row a method, best FINAL first and oracles last; a cell holds the value of each seed."""
    return _by_seed(measured("methods"), SHOWN)


def methods_less_naive() -> str:
    """The same as differences to naive, seed by seed."""
    return _by_seed(measured("methods-less-naive"), LESS_NAIVE)


def rid_strength() -> str:
    """RID at four strengths, naive and soup."""
    return _by_seed(measured("rid-strength"), LESS_NAIVE)


def tuners(reward: str) -> str:
    """A row a tuner and budget, most gain first: the gain of every seed, and means of the rest."""
    rows = measured("tuners")
    rows = rows[rows["reward"] == reward]
    gains = rows[["gain 0", "gain 1", "gain 2"]]
    rows = rows.assign(mean=gains.mean(axis=1)).sort_values("mean", ascending=False)
    head = ["tuner", "gain, by seed", "diversity", "SSIM", "FID", "updates", "seconds"]
    lines = [
        [
            row["tuner"]
            if row["evaluations"] == 8000
            else f"{row['tuner']}, {row['evaluations']} evaluations",
            ", ".join(f"{row[f'gain {seed}']:+.3g}" for seed in range(3)),
            f"{row['diversity']:.2f}",
            f"{row['SSIM']:.2f}",
            f"{row['FID']:.0f}",
            f"{row['updates']}",
            f"{row['seconds']}",
        ]
        for _, row in rows.iterrows()
    ]
    return _markdown(head, lines)


def measured(name: str) -> pd.DataFrame:
    """A table of docs/studies/measured/."""
    return pd.read_csv(MEASURED / f"{name}.csv")


def _by_seed(frame: pd.DataFrame, columns: list[str]) -> str:
    means = frame.groupby("method", sort=False)["FINAL"].mean()
    order = sorted(means.index, key=lambda name: (name in ORACLES, -means[name]))
    lines = []
    for name in order:
        rows = frame[frame["method"] == name].sort_values("seed")
        cells = [", ".join(_digits(value) for value in rows[column]) for column in columns]
        lines.append([f"{name} †" if name in ORACLES else name, *cells])
    return _markdown(["method", *columns], lines)


def _digits(value: float) -> str:
    """Three significant digits, trailing zeros kept."""
    return f"{value:#.3g}".rstrip(".") if abs(value) < 1000 else f"{value:.0f}"


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return re.sub(r"(?<=[ (])-(?=\d)", "−", table) + "\n"


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(globals()[name](*arguments), end="")
