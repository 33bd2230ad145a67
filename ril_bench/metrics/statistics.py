"""What several runs say together. The unit is one run: an (order, seed) pair."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

CLAIM_UNITS = 5  # below, every point is shown and nothing is claimed


@dataclass(frozen=True)
class Interval:
    """A mean over `n` units, its 95% interval and standard error; a single unit has only the mean."""

    mean: float
    low: float
    high: float
    se: float
    n: int

    @property
    def claims(self) -> bool:
        """False below 5 units: show every point, claim nothing."""
        return self.n >= CLAIM_UNITS


def standard_error(values: Sequence[float]) -> float:
    """SE = SD / sqrt(n), with n - 1 in the SD; NaN for a single value."""
    x = np.asarray(values, dtype=np.float64)
    return float(x.std(ddof=1) / np.sqrt(x.size)) if x.size > 1 else float("nan")


def mean_interval(values: Sequence[float]) -> Interval:
    """mean +- t_{.975, n-1} SE over units, shape (n,).  [Student 1908]

    Student's t, as a percentile bootstrap covers only .84 at 5 units. NaN among the values makes all of it
    NaN. Raises ValueError without values.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"an interval needs the values of one or more units, got the shape {x.shape}")
    mean, se = float(x.mean()), standard_error(values)
    half = float(stdtrit(x.size - 1, 0.975)) * se if x.size > 1 else float("nan")
    return Interval(mean, mean - half, mean + half, se, x.size)


def paired_difference(a: Mapping[Hashable, float], b: Mapping[Hashable, float]) -> Interval:
    """The interval of the mean of a - b over units, paired by key, such as (order, seed).

    Two methods on one unit share its order and its draws, so the difference is less noisy than either. Raises
    ValueError naming the units that only one of them has: dropping them would compare different things.
    """
    alone = sorted(map(repr, a.keys() ^ b.keys()))
    if alone:
        raise ValueError(f"units without a partner: {', '.join(alone)}")
    return mean_interval([a[unit] - b[unit] for unit in a])
