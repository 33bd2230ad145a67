"""Runs that no entry of the leaderboard has, as a table of docs/studies/measured/: a row a run, in CSV.

python docs/studies/collect.py runs > docs/studies/measured/strengths.csv
"""

from __future__ import annotations

import sys

from ril_bench.reporting.summary import load, runs_table

PLACE = ("sequence", "order", "tuner", "method", "seed")
METRICS = ("LEARN", "FORGET", "FINAL", "drift", "SSIM to step 0", "updates spent")


def collect(*folders: str) -> str:
    """The metrics of every complete run below the folders."""
    rows = runs_table(load(folders))
    rows = rows[rows["status"] == "complete"][[*PLACE, *METRICS]]
    return rows.sort_values(list(PLACE)).round(4).to_csv(index=False)


if __name__ == "__main__":
    print(collect(*sys.argv[1:]), end="")
