"""How different the samples of one prompt are: a model that draws one image again and again scores low."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import pdist

from ril_bench.metrics.arrays import features_of


def vendi_score(features: ArrayLike) -> float:
    """exp of the entropy of the eigenvalues of K/n, K_ij the cosine of rows i and j: (n, d) -> [1, n].

    The effective number of different samples: 1 if all are alike, n if all are orthogonal. [Friedman & Dieng
    2023] Natural logarithm, 0 log 0 = 0. NaN where a row is zero. Raises ValueError on other shapes, or
    values that are not finite.
    """
    x = features_of(features, least=1)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    if not lengths.all():
        return float("nan")
    x = x / lengths
    shares = np.linalg.eigvalsh(x @ x.T / len(x))
    shares = shares[shares > 0]  # K is positive semidefinite: what is below is rounding
    return float(np.exp(-(shares * np.log(shares)).sum()))


def mean_pairwise_distance(features: ArrayLike) -> float:
    """The mean Euclidean distance of two of the rows (n, d), in the features' units; NaN for a single row.

    Unlike the Vendi score it sees lengths too, and it has no ceiling. Raises as `vendi_score`.
    """
    distances = pdist(features_of(features, least=1))
    return float(distances.mean()) if distances.size else float("nan")
