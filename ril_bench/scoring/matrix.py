"""The reward matrix R from scores: the one function that a run, its metrics and the leaderboard use."""

from __future__ import annotations

import pandas as pd


def matrix(scores: pd.DataFrame) -> pd.DataFrame:
    """R: rows step 0..T, a column for each reward in the order of the table (tasks, then probes)."""
    means = scores.groupby(["step", "reward"], sort=False)["score"].mean().unstack("reward").sort_index()
    return means[list(dict.fromkeys(scores["reward"]))].rename_axis(columns=None)
