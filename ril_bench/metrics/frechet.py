"""Fréchet distance between two sets of features.  [Dowson & Landau 1982; FID: Heusel et al. 2017]"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from ril_bench.metrics.arrays import Array, two_sets


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    """FID of features a (n1, d) and b (n2, d): `frechet_of_gaussians` of their means and covariances.

    Range: 0 upward, in squared units of the features. Lower is better. With few images it is far too high, even for
    two sets of one distribution: see `biased`. Values of different feature networks cannot be compared.

    Raises ValueError on shapes that do not fit, fewer than two rows, or values that are not finite.
    """
    a, b = two_sets(a, b)
    return frechet_of_gaussians(a.mean(axis=0), _covariance(a), b.mean(axis=0), _covariance(b))


def frechet_of_gaussians(m1: Array, S1: Array, m2: Array, S2: Array) -> float:
    """|m1 - m2|^2 + tr S1 + tr S2 - 2 tr sqrt(S1^1/2 S2 S1^1/2); means (d,), covariances (d, d).

    The last trace is the sum of the square roots of the eigenvalues of S1 S2.  [Dowson & Landau 1982]
    """
    trace_root = np.sqrt(_product_eigenvalues(S1, S2).clip(min=0)).sum()
    return float(max(0.0, ((m1 - m2) ** 2).sum() + np.trace(S1) + np.trace(S2) - 2 * trace_root))


def _product_eigenvalues(S1: Array, S2: Array) -> Array:
    """The eigenvalues of S1 S2.

    They are real, as they equal those of the symmetric L^T S2 L with S1 = L L^T. The symmetric problem takes a
    quarter of the time of the general one (tests/benchmarks/test_metrics.py). A singular S1, from fewer images than
    dimensions, has no Cholesky factor L; its symmetric root replaces L, which takes longer.
    """
    try:
        found = scipy.linalg.eigh(S2, S1, type=2, eigvals_only=True, driver="gv")
    except scipy.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(S1)
        root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
        found = np.linalg.eigvalsh(root @ S2 @ root)
    return np.asarray(found)


def biased(a: ArrayLike, b: ArrayLike) -> bool:
    """Whether the smaller set has n < 2d rows, so that its covariance is mostly noise.  [ours]

    The distance alone then means little: show it together with its floor.
    """
    (n1, d), (n2, _) = np.shape(a), np.shape(b)
    return min(n1, n2) < 2 * d


def _covariance(x: Array) -> Array:
    return np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1])  # numpy returns a scalar for d = 1
