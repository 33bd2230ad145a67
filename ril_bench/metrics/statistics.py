"""Statistics over several runs: intervals, tests, ranks.

The unit is one run, an (order, seed) pair.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

Array = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)
Name = TypeVar("Name", bound=Hashable)

CLAIM_UNITS = 5  # with fewer units, reports show every point and claim nothing
BOOTSTRAP_UNITS = 20  # with fewer units the interval is that of Student's t
RESAMPLES = 1999  # (RESAMPLES + 1) * .95 is whole
CLAIMED_P = 0.05  # below it, a p value that is adjusted by Holm is a claim
MOST_UNITS = 1000  # more are never proposed
TRIM = 0.25  # the share of the values that the interquartile mean leaves out at each end


@dataclass(frozen=True)
class Interval:
    """A mean over units and its 95% interval; for a single unit all but the mean are NaN.

    Attributes:
        mean: over units.
        low: lower end of the interval.
        high: upper end of the interval.
        se: standard error of the mean.
        n: number of units.
        kind: how the interval was computed.
    """

    mean: float
    low: float
    high: float
    se: float
    n: int
    kind: Literal["t", "bootstrap-t"]

    @property
    def claims(self) -> bool:
        """Whether there are enough units (5) for a claim; with fewer, show every point."""
        return self.n >= CLAIM_UNITS


def mean_interval(values: Sequence[float]) -> Interval:
    """The 95% interval of the mean over units, shape (n,).  [Student 1908; Hall 1988]

    With fewer than 20 units it is mean +- t_{.975, n-1} SE; a percentile bootstrap covers only .84 at 5 units. From 20
    units on it is the symmetric bootstrap-t: the .95 quantile of |t*| over resamples replaces Student's quantile. The
    resamples are seeded, so the same values have the same interval. A quantile for each side would cover skewed values
    a little better, but only .93 with the heavy tails that paired differences can have. A NaN among the values makes
    the interval NaN. Raises ValueError without values.

    Simulated coverage (10,000 samples) at 5, 10, 20 and 30 units: normal .95 throughout; Laplace .97, .96,
    .96 and .96; exponential .88, .90, .94 and .94 (Student's t at 20 and 30: .92); lognormal of sigma 1 .82, .84,
    .90 and .91 (.87, .88).
    """
    x = _units(values)
    mean, se = (float(part) for part in _mean(x))
    t = _studentised(x) if x.size >= BOOTSTRAP_UNITS else None
    if t is not None:
        half = float(np.quantile(np.abs(t), 0.95)) * se
    elif x.size > 1:
        half = float(stdtrit(x.size - 1, 0.975)) * se
    else:
        half = float("nan")
    return Interval(mean, mean - half, mean + half, se, x.size, "t" if t is None else "bootstrap-t")


def units_to_exclude(interval: Interval, level: float) -> int | None:
    """The number of units with which the 95% interval would exclude a level, if mean and spread stayed as they are.

    It is the smallest n >= CLAIM_UNITS with t_{.975, n-1} s / sqrt(n) < |mean - level|, s the standard deviation over
    units. None if the spread is not known, or if MOST_UNITS are too few.  [ours]
    """
    if not np.isfinite(interval.se):
        return None
    n = np.arange(CLAIM_UNITS, MOST_UNITS + 1)
    half = stdtrit(n - 1, 0.975) * interval.se * np.sqrt(interval.n / n)
    enough = n[half < abs(interval.mean - level)]
    return int(enough[0]) if enough.size else None


def iqm(values: Sequence[float]) -> float:
    """Interquartile mean over units: the mean without the floor(n/4) lowest and highest.  [Agarwal et al. 2021]

    As SciPy's `trim_mean` and rliable compute it; with fewer than 4 units it is the plain mean. A NaN among the values
    makes it NaN. Raises ValueError without values.
    """
    x = np.sort(_units(values))
    cut = int(TRIM * x.size)
    # NaN sorts to the end, where it would be trimmed.
    return float("nan") if np.isnan(x[-1]) else float(x[cut : x.size - cut].mean())


def differences(a: Mapping[Key, float], b: Mapping[Key, float]) -> list[float]:
    """a - b, unit by unit, in a's order.

    Raises ValueError naming the units that only one of them has.
    """
    alone = sorted(map(repr, a.keys() ^ b.keys()))
    if alone:
        raise ValueError(f"units without a partner: {', '.join(alone)}")
    return [a[unit] - b[unit] for unit in a]


def paired_difference(a: Mapping[Key, float], b: Mapping[Key, float]) -> Interval:
    """The interval of the mean of a - b over units, paired by key, such as (order, seed).

    Two methods on one unit have the same order, prompts and latents, so their difference is less noisy than either
    value. Their new adapters begin at the same weights only where these have the same name. Raises ValueError naming
    the units that only one of them has.
    """
    return mean_interval(differences(a, b))


def paired_p(a: Mapping[Key, float], b: Mapping[Key, float]) -> float:
    """The two-sided p value of the paired t-test; NaN for fewer than 2 units.  [Student 1908]

    1 where a and b are equal in every unit. Raises as `paired_difference`.
    """
    gaps = np.asarray(differences(a, b), dtype=np.float64)
    if gaps.size < 2:
        return float("nan")
    mean, se = _mean(gaps)
    if mean == 0 and se == 0:
        return 1.0
    with np.errstate(divide="ignore"):  # the same difference in every unit: t is infinite, p is 0
        return float(2 * stdtr(gaps.size - 1, -np.abs(mean / se)))


def share_improved(a: Mapping[Key, float], b: Mapping[Key, float], better: int) -> float:
    """The share of units in which a is better than b; a unit where both are equal counts half.

    It is the statistic of the sign test, over n. The units are paired, as in `paired_difference`: two methods on other
    units are never compared. Range: 0 to 1; 1/2 where neither is better. A NaN among the values makes it NaN.

    Args:
        better: +1 where higher is better, -1 where lower is.

    Raises ValueError without units, and naming the units that only one of them has.
    """
    return float(np.heaviside(better * _units(differences(a, b)), 0.5).mean())


def holm(p: Mapping[Key, float]) -> dict[Key, float]:
    """p values adjusted for their number: p_(k) becomes max_{l<=k} min(1, (m - l + 1) p_(l)).  [Holm 1979]

    The probability of one or more false claims among the adjusted p below .05 is at most .05. NaN stays NaN, and
    counts in m, as the comparison was planned. Raises ValueError for a p outside [0, 1].
    """
    keys = sorted((key for key, value in p.items() if not np.isnan(value)), key=lambda key: p[key])
    adjusted: dict[Key, float] = {key: float("nan") for key in p}
    largest = 0.0
    for rank, key in enumerate(keys):
        if not 0 <= p[key] <= 1:
            raise ValueError(f"a p value must be between 0 and 1, got {p[key]} for {key!r}")
        largest = max(largest, min(1.0, (len(p) - rank) * p[key]))
        adjusted[key] = largest
    return adjusted


@dataclass(frozen=True)
class Rank:
    """A method's rank by its mean over units, and the 95% interval of the rank.

    Attributes:
        rank: 1 is the best; equal means share the better rank.
        low: the best rank that the units do not exclude.
        high: the worst rank that the units do not exclude.
    """

    rank: int
    low: int
    high: int


def ranks(values: Mapping[Name, Mapping[Key, float]], better: int) -> dict[Name, Rank]:
    """Each method's rank among k methods on the same units, and the ranks that the units do not exclude.

    low = 1 + the number of methods that are significantly better, high = k - the number of methods that are
    significantly worse, by the paired t test on their units, adjusted by Holm over all pairs, at .05. All intervals
    are correct together with probability .95.  [Mogstad, Romano, Shaikh & Wilhelm 2024, with Holm's steps]

    The percentile bootstrap of ranks is not used: for five equal methods it ranks some above others in .96 of
    samples at 5 units and .89 at 10; these intervals do so in .05 and .06 (simulated, 400 samples, normal).

    Args:
        values: method -> unit -> value of the metric.
        better: +1 where higher is better, -1 where lower is.

    Raises:
        ValueError: not all methods have the same units (it names them), or a value is not finite.
    """
    mean = {name: better * math.fsum(own.values()) / len(own) for name, own in values.items()}
    if not all(map(math.isfinite, mean.values())):
        raise ValueError("a value that is not finite has no rank")
    p = holm({(a, b): paired_p(values[a], values[b]) for a, b in combinations(values, 2)})
    significant = [
        (a, b) if mean[a] > mean[b] else (b, a) for (a, b), value in p.items() if value < CLAIMED_P
    ]
    return {
        name: Rank(
            rank=1 + sum(other > own for other in mean.values()),
            low=1 + sum(worse == name for _, worse in significant),
            high=len(values) - sum(best == name for best, _ in significant),
        )
        for name, own in mean.items()
    }


def _studentised(x: Array) -> Array | None:
    """t* = (mean* - mean) / SE* of each resample, (RESAMPLES,); None where a resample has no spread.

    Values that are nearly all equal have such resamples, whose t* would be infinite.
    """
    means, se = _mean(x[_resamples(x.size)])
    if bool((se <= 1e-12 * np.abs(x).max()).any()):
        return None
    return np.asarray((means - _mean(x)[0]) / se)


@cache
def _resamples(n: int) -> NDArray[np.intp]:
    """(RESAMPLES, n) positions drawn with replacement, the same for every sample of n units."""
    return np.random.default_rng(0).integers(n, size=(RESAMPLES, n))


def _mean(x: Array) -> tuple[Array, Array]:
    """The means (...) and standard errors (...) of samples (..., n); the error of a single value is NaN."""
    n = x.shape[-1]
    se = x.std(axis=-1, ddof=1) / np.sqrt(n) if n > 1 else np.full(x.shape[:-1], np.nan)
    return x.mean(axis=-1), np.asarray(se)


def _units(values: ArrayLike) -> Array:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"the values of one or more units are needed, (n,), got the shape {x.shape}")
    return x
