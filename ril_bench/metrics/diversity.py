"""Diversity metrics: how different the images of one prompt are, from their features."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import pdist

from ril_bench.metrics.arrays import features_of


def vendi_score(features: ArrayLike) -> float:
    """Vendi score: exp(-sum_i l_i log l_i), l_i the eigenvalues of K/n, K_ij the cosine of rows i and j.

    The effective number of different images. [Friedman & Dieng 2023] Natural logarithm, 0 log 0 = 0. Range: 1 to n; 1
    if all rows have the same direction, n if all are orthogonal. Higher is better. With n = 2 it is between 1 and 2,
    and noise in the images counts as diversity. NaN where a row is zero.

    Args:
        features: (n, d).

    Raises:
        ValueError: other shapes, or values that are not finite.
    """
    x = features_of(features, least=1)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    if not lengths.all():
        return float("nan")
    x = x / lengths
    shares = np.linalg.eigvalsh(x @ x.T / len(x))
    shares = shares[shares > 0]  # K is positive semidefinite: values below 0 are rounding
    return float(np.exp(-(shares * np.log(shares)).sum()))


def mean_pairwise_distance(features: ArrayLike) -> float:
    """Pairwise distance: mean_{i<j} |x_i - x_j| over the rows (n, d); NaN for a single row.

    Range: 0 upward, in the unit of the features. Higher is better. Unlike the Vendi score it grows with the length of
    the features, even where the images do not differ more in kind. Raises as `vendi_score`.
    """
    distances = pdist(features_of(features, least=1))
    return float(distances.mean()) if distances.size else float("nan")
