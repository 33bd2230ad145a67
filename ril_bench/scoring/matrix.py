"""The reward matrix R from scores. Runs, metrics and the leaderboard all use this function."""

from __future__ import annotations

import pandas as pd


def matrix(scores: pd.DataFrame) -> pd.DataFrame:
    """R: rows are steps 0..T, columns are rewards in their order (tasks, then probes)."""
    means = scores.groupby(["step", "reward"], sort=False)["score"].mean().unstack("reward").sort_index()
    return means[list(dict.fromkeys(scores["reward"]))].rename_axis(columns=None)
