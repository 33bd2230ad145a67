"""The arrays that metrics on features take: finite float64 matrices, one row for each image."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def features_of(x: ArrayLike, least: int = 2) -> Array:
    """x as (n, d). Raises ValueError on another shape, fewer rows than `least`, or values not finite."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or x.shape[0] < least or x.shape[1] < 1:
        raise ValueError(f"features need the shape (n>={least}, d), got {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("features hold NaN or infinite values")
    return x


def two_sets(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """a as (n1, d) and b as (n2, d). Raises as `features_of`, and on different dimensions."""
    a, b = features_of(a), features_of(b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features of different dimensions: {a.shape[1]} and {b.shape[1]}")
    return a, b
