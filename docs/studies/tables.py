"""The Markdown tables of docs/results/, from the numbers in docs/studies/measured/.

python docs/studies/tables.py tuners aesthetic
python docs/studies/tables.py stored flow values FINAL FORGET
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd

from ril_bench.metrics.statistics import Interval
from ril_bench.reporting.tables import chosen, write_table
from ril_bench.reporting.text import fixed, signed

MEASURED = Path(__file__).parent / "measured"


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
    return as_markdown(head, lines)


def gpu(model: str) -> str:
    """A row a tuner: seconds and memory of an update of a model on one H100."""
    rows = measured("gpu")
    lines = [
        [
            row["tuner"],
            f"{row['seconds']:.1f}",
            f"{row['peak GB']:.0f}",
            f"{row['x bare']:.2f}" + "*" * (row["quiet"] == "no"),
        ]
        for _, row in rows[rows["model"] == model].iterrows()
    ]
    return as_markdown(["tuner", "s / update", "peak GB", "x bare cost"], lines)


def stored(name: str, paired: str, *metrics: str) -> str:
    """Some metrics of a table that `ril-bench report --format csv` wrote; "paired": as differences to naive tuning."""
    lists = ("points", "difference_points")
    table = pd.read_csv(MEASURED / f"{name}.csv", converters=dict.fromkeys(lists, _numbers))
    return write_table(chosen(table, metrics), "md", paired=paired == "paired")


def _numbers(cell: str) -> tuple[float, ...]:
    return tuple(map(float, cell.split()))


def measured(name: str) -> pd.DataFrame:
    """A table of docs/studies/measured/."""
    return pd.read_csv(MEASURED / f"{name}.csv")


def difference(found: Interval, places: int = 2) -> str:
    """A difference with its interval: +0.08 [-0.12, 0.27]."""
    low, high = fixed(found.low, places), fixed(found.high, places)
    return f"{signed(found.mean, places)} [{low}, {high}]"


def as_markdown(head: list[str], lines: list[list[str]], *, words: bool = False) -> str:
    """A table; columns after the first are aligned to the right, unless they hold words."""
    rows = [head, ["---", *["---" if words else "---:"] * (len(head) - 1)], *lines]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return re.sub(r"(?<=[ (\[])-(?=\d)", "−", table) + "\n"


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(globals()[name](*arguments), end="")
