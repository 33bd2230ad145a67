"""A curve of means over units, read at a level that is itself a mean over units."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def at_level(x: ArrayLike, y: ArrayLike, level: ArrayLike) -> Array | None:
    """y where the mean curve crosses the mean of `level`, as a value for each unit, (n,); None where it does not.

    The curve joins the means over units of (x_k, y_k) by straight lines, k = 1 .. K; the first crossing counts. The
    mean of the result is the interpolated y. A unit's value is

        (1 - w) y_ku + w y_(k+1)u + s (level_u - (1 - w) x_ku - w x_(k+1)u)

    with the weight w and the slope s of the means. So its spread has, to first order, the noise of x and of the level
    too (the delta method), and values of the same units can be compared in pairs. [ours]

    Args:
        x: (K, n), K points of a curve on n units.
        y: (K, n).
        level: (n,), in the unit of x.

    Raises:
        ValueError: other shapes, or values that are not finite.
    """
    x, y, level = (np.asarray(values, dtype=np.float64) for values in (x, y, level))
    if x.ndim != 2 or x.shape != y.shape or level.shape != x.shape[1:] or not level.size:
        raise ValueError(
            f"the shapes are {x.shape}, {y.shape} and {level.shape}, not (K, n), (K, n) and (n,)"
        )
    if not all(np.isfinite(values).all() for values in (x, y, level)):
        raise ValueError("values of a curve are NaN or infinite")
    target, x_mean, y_mean = level.mean(), x.mean(axis=1), y.mean(axis=1)
    for k in range(len(x) - 1):
        width = x_mean[k + 1] - x_mean[k]
        w = (target - x_mean[k]) / width if width else np.inf
        if 0 <= w <= 1:
            slope = (y_mean[k + 1] - y_mean[k]) / width
            inner_x, inner_y = ((1 - w) * values[k] + w * values[k + 1] for values in (x, y))
            return np.asarray(inner_y + slope * (level - inner_x))
    return None
