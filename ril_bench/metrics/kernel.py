"""KID: kernel distance between two sets of features.

It is the squared maximum mean discrepancy with a cubic kernel. Unlike the Fréchet distance, it is unbiased for any
number of images.  [Gretton et al. 2012; Bińkowski et al. 2018]
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ril_bench.metrics.arrays import Array, two_sets

Indices = NDArray[np.intp]

SUBSETS, SUBSET_SIZE = 100, 1000  # as in Bińkowski et al. and in the public implementations


@dataclass(frozen=True)
class KernelDistance:
    """KID and its standard deviation, in the kernel's unit.

    Attributes:
        value: KID.
        sd: the standard deviation of one estimate.
        subsets: how many subsets were averaged; 1 for the full sets.
    """

    value: float
    sd: float
    subsets: int


def kernel_distance(
    a: ArrayLike,
    b: ArrayLike,
    groups: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
) -> KernelDistance:
    """KID of features a (n1, d) and b (n2, d): the mean of `mmd2` over random subsets.

    Range: about 0 upward; it can be a little below 0 by chance. Lower is better. The unit is that of the feature
    network, so values of different networks cannot be compared. With a few dozen images its noise is larger than most
    differences: read it together with `sd` and its floor.

    Subsets of `subset_size` rows are drawn from each set without replacement. `sd` is the standard deviation over
    subsets, with n in its denominator, as torch-fidelity and torchmetrics report it. Sets that are not larger than
    `subset_size` are used whole, once; `sd` is then the jackknife over groups, which estimates the same spread. For
    two sets of one distribution the jackknife is about 1.4 times too large (the leading term of the statistic
    vanishes). NaN for fewer than three rows or groups.

    Args:
        groups: the group of each row of a and of b, as for `mmd2`.
        subsets: number of subsets.
        subset_size: number of rows of each subset.
        seed: seed of the subsets.

    Raises:
        ValueError: as `mmd2`.
    """
    a, b = two_sets(a, b)
    rows, columns, number = _numbered(len(a), len(b), groups)
    if max(len(a), len(b)) <= subset_size:
        terms = list(_terms(a, b, rows, columns))
        left_out = _squared(*(_without_each_group(*term, number) for term in terms))
        return KernelDistance(
            _squared(*(_apart(*term) for term in terms)).item(), math.sqrt((number - 1) * left_out.var()), 1
        )
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        x, y = (rng.choice(len(each), min(len(each), subset_size), replace=False) for each in (a, b))
        values.append(_squared(*(_apart(*term) for term in _terms(a[x], b[y], rows[x], columns[y]))))
    return KernelDistance(float(np.mean(values)), float(np.std(values)), subsets)


def mmd2(
    a: ArrayLike, b: ArrayLike, groups: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None
) -> float:
    """mean k(a_i, a_j) + mean k(b_i, b_j) - 2 mean k(a_i, b_j), k(x, y) = (x.y / d + 1)^3, over pairs of rows.

    A row is not paired with itself, so the expectation is 0 for two sets of one distribution, if all rows are
    independent. Images of one prompt are not independent: `groups` names the group of each row, and pairs within a
    group are left out of all three means. [ours; with one row in each group, the U-statistic of Gretton et al. 2012,
    eq. 4]

    Raises ValueError on shapes that do not fit, fewer than two rows, or values that are not finite.
    """
    a, b = two_sets(a, b)
    rows, columns, _ = _numbered(len(a), len(b), groups)
    return _squared(*(_apart(*term) for term in _terms(a, b, rows, columns))).item()


def _numbered(
    n1: int, n2: int, groups: tuple[Sequence[Hashable], Sequence[Hashable]] | None
) -> tuple[Indices, Indices, int]:
    """The groups of the rows of both sets as integers, and how many there are; by default each row is a group."""
    if groups is None:
        return np.arange(n1), np.arange(n1, n1 + n2), n1 + n2
    if (len(groups[0]), len(groups[1])) != (n1, n2):
        raise ValueError(f"{n1} and {n2} rows, but groups of {len(groups[0])} and {len(groups[1])}")
    number = {name: i for i, name in enumerate(dict.fromkeys([*groups[0], *groups[1]]))}
    first, second = (np.array([number[name] for name in part]) for part in groups)
    return first, second, len(number)


def _terms(a: Array, b: Array, rows: Indices, columns: Indices) -> Iterator[tuple[Array, Indices, Indices]]:
    """The kernels within a, within b and across, each with the groups of its rows and columns."""
    for (x, i), (y, j) in (((a, rows),) * 2, ((b, columns),) * 2, ((a, rows), (b, columns))):
        yield (x @ y.T / x.shape[1] + 1) ** 3, i, j


def _squared(aa: Array, bb: Array, ab: Array) -> Array:
    return aa + bb - 2 * ab


def _apart(K: Array, rows: Indices, columns: Indices) -> Array:
    """The mean kernel over pairs of different groups; NaN without such pairs."""
    kept = rows[:, None] != columns
    return np.asarray(np.where(kept, K, 0).sum() / kept.sum() if kept.any() else np.nan)


def _without_each_group(K: Array, rows: Indices, columns: Indices, number: int) -> Array:
    """`_apart` without the rows and columns of group g, for each g; NaN where no pair is left."""
    kept = rows[:, None] != columns

    def total(x: Array) -> Array:
        of_rows = np.bincount(rows, x.sum(axis=1), number)
        return np.asarray(x.sum() - of_rows - np.bincount(columns, x.sum(axis=0), number))

    pairs = total(kept.astype(np.float64))
    return total(np.where(kept, K, 0)) / np.where(pairs > 0, pairs, np.nan)
