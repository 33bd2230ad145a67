"""What a sequence must show to tell methods apart: definitions on arrays, and their bounds.  [ours]

The runs behind these values are `single` (each task tuned alone, from the pretrained model), `naive` and `joint`, each
on several seeds. N has the shape (seeds, T+1, T), with rows and columns as in `metrics.continual`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ril_bench.metrics.arrays import Array
from ril_bench.metrics.continual import backward_transfer, final
from ril_bench.metrics.statistics import Interval, mean_interval

#: Below this gain, in standard deviations over prompts, a reward has no unit of N: noise would read as whole units.
LEAST_UNIT = 0.2


@dataclass(frozen=True)
class Property:
    """A property of a sequence, and its bound.

    Attributes:
        words: the name of the property in reports.
        definition: what is computed, with its unit.
        bound: the value that a sequence must reach, or must not exceed; None for a value that is only reported.
        at_least: whether the bound is the lowest value allowed, not the highest.
        otherwise: what runs of a sequence outside the bound cannot show.
    """

    words: str
    definition: str
    bound: float | None
    at_least: bool
    otherwise: str = ""

    @property
    def bound_in_words(self) -> str:
        """The bound as a table shows it."""
        if self.bound is None:
            return "reported"
        return f"{'at least' if self.at_least else 'at most'} {self.bound:g}"

    def holds(self, value: float | None) -> bool | None:
        """Whether a value is within the bound; None for a value that is not measured, or has no bound."""
        if self.bound is None or value is None or math.isnan(value):
            return None
        return value >= self.bound if self.at_least else value <= self.bound


PROPERTIES: Mapping[str, Property] = {
    "headroom": Property(
        "headroom",
        "the smallest gain of a task tuned alone, in standard deviations over prompts at step 0",
        0.4,
        True,
        "how much a method learns",
    ),
    "headroom_over_noise": Property(
        "headroom over noise",
        "the smallest gain of a task tuned alone, in its standard errors over seeds",
        10.0,
        True,
        "how much a method learns",
    ),
    "equal_pushes": Property(
        "equal pushes",
        "the largest gain of a task tuned alone to the smallest, both in standard deviations over prompts",
        1.5,
        False,
        "the same pressure in every task",
    ),
    "attributes_kept": Property(
        "attributes kept",
        "the probe `attributes` after a task tuned alone to step 0's, in the worst task",
        0.8,
        True,
        "rewards that rise without a collapse of the images",
    ),
    "diversity_kept": Property(
        "diversity kept",
        "the mean pairwise distance after a task tuned alone to step 0's, in the worst task",
        0.8,
        True,
        "rewards that rise without a collapse of the images",
    ),
    "attainable": Property(
        "attainable",
        "FINAL of joint, in units of tuning alone (N)",
        0.6,
        True,
        "that one model can have all rewards",
    ),
    "attainable_worst": Property(
        "attainable in the worst task",
        "the lowest reward of joint's last model, in units of tuning alone (N)",
        0.2,
        True,
        "that one model can have all rewards",
    ),
    "forgetting": Property(
        "forgetting",
        "the upper end of the 95% interval of naive's BWT over seeds, in units of tuning alone (N)",
        -0.2,
        False,
        "that a method prevents forgetting",
    ),
    "resolution": Property(
        "resolution",
        "the half-width of the 95% interval of the paired difference in FINAL, joint - naive, to its mean",
        0.2,
        False,
        "small differences between methods",
    ),
    "equal_gradients": Property(
        "equal gradients",
        "the largest median norm of a task's gradient to the smallest, in tasks tuned alone",
        3.0,
        False,
        "one strength that means the same in every task",
    ),
    "agreement": Property(
        "agreement with tastes",
        "the lowest rank correlation of a reward with the taste that it learned, over the images of a step of naive",
        None,
        True,
    ),
}


def cannot_show(failed: Mapping[str, float | None]) -> str | None:
    """A sentence that states what a sequence cannot show; None if no property failed.

    Args:
        failed: the properties outside their bounds, with their values; None for a value that is infinite.
    """
    reasons: dict[str, list[str]] = {}
    for name in failed.keys() & PROPERTIES.keys():
        known, value = PROPERTIES[name], failed[name]
        shown = "infinite" if value is None else f"{value:.2g}"
        reasons.setdefault(known.otherwise, []).append(f"{known.words} {shown}, {known.bound_in_words}")
    listed = [f"{what} ({'; '.join(sorted(why))})" for what, why in sorted(reasons.items())]
    return f"this sequence cannot show {', or '.join(listed)}" if listed else None


def headroom(gains: ArrayLike) -> float:
    """min_j g_j, with g_j = d_j (u_j - b_j) / sigma_j the gain of task j tuned alone; g has the shape (T,)."""
    return float(np.min(gains))


def headroom_over_noise(gains: ArrayLike, errors: ArrayLike) -> float:
    """min_j g_j / e_j, with e_j the standard error of g_j over seeds, in the same unit; both (T,)."""
    return float(np.min(in_errors(gains, errors)))


def in_errors(gains: ArrayLike, errors: ArrayLike) -> Array:
    """g_j / e_j of each task, (T,); infinite where all seeds give the same gain."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(gains, errors)


def equal_pushes(gains: ArrayLike) -> float:
    """max_j g_j / min_j g_j; infinite where a task gains nothing. 1 is the best value."""
    return _largest_to_smallest(gains)


def kept(values: ArrayLike) -> float:
    """min_i mean(v[:, i]) / mean(v[:, 0]) over the steps i >= 1 of `single`, with means over seeds.

    Args:
        values: (seeds, T+1): a quality of the images at step 0 and after each task tuned alone.
    """
    means = np.asarray(values, dtype=np.float64).mean(axis=0)
    return float(np.min(means[1:] / means[0]))


def attainable(joint: ArrayLike) -> float:
    """The mean over seeds of joint's FINAL; N of joint, (seeds, T+1, T)."""
    return float(np.mean([final(N) for N in np.asarray(joint)]))


def attainable_worst(joint: ArrayLike) -> float:
    """min_j of the mean over seeds of N[T][j] of joint.

    The mean comes first, as a minimum of noisy values is biased downward.
    """
    return float(np.asarray(joint)[:, -1].mean(axis=0).min())


def forgetting(naive: ArrayLike) -> Interval:
    """The 95% interval of naive's BWT over seeds, whose upper end is the property; NaN for a single task."""
    return mean_interval([backward_transfer(N) for N in np.asarray(naive)])


def distance(joint: ArrayLike, naive: ArrayLike) -> Interval:
    """The 95% interval of FINAL(joint) - FINAL(naive), paired by seed.

    Both arrays are (seeds, T+1, T), with the same seeds in the same order. Raises ValueError for different numbers of
    seeds.
    """
    pairs = zip(np.asarray(joint), np.asarray(naive), strict=True)
    return mean_interval([final(a) - final(b) for a, b in pairs])


def resolution(distance: Interval) -> float:
    """The half-width of the interval of a paired difference to its mean; infinite unless the mean is above 0."""
    return (distance.high - distance.mean) / distance.mean if distance.mean > 0 else math.inf


def equal_gradients(norms: Sequence[ArrayLike]) -> float:
    """max_j m_j / min_j m_j, with m_j the median of task j's gradient norms before clipping.

    Args:
        norms: for each task, the norms of all updates of all seeds.
    """
    return _largest_to_smallest([np.median(np.asarray(of_task)) for of_task in norms])


def agreement(scores: ArrayLike, tastes: ArrayLike) -> float:
    """Spearman's rank correlation of the scores and the tastes of the same images, both (N,).

    NaN where one of them is constant.
    """
    from scipy.stats import spearmanr  # half a second, which the other metrics do not need

    scores, tastes = np.asarray(scores), np.asarray(tastes)
    if np.ptp(scores) == 0 or np.ptp(tastes) == 0:
        return float("nan")
    return float(spearmanr(scores, tastes).statistic)


def _largest_to_smallest(values: ArrayLike) -> float:
    values = np.asarray(values, dtype=np.float64)
    return float(values.max() / values.min()) if values.min() > 0 else math.inf
