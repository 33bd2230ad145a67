"""How much of a picture's structure is left: the same prompt and latents at two steps, picture by picture."""

from __future__ import annotations

import numpy as np
import torch
from kornia.metrics import ssim as ssim_map
from numpy.typing import ArrayLike, NDArray

WINDOW = 11  # kornia's Gaussian always has sigma 1.5, Wang's


def ssim(a: torch.Tensor | ArrayLike, b: torch.Tensor | ArrayLike) -> NDArray[np.float64]:
    """Structural similarity of each pair of pictures: (N,3,H,W) twice -> (N,).  [Wang et al. 2004]

    Floats in [0,1] in; 1 means identical. Gaussian window of 11 pixels, sigma 1.5, K1 .01, K2 .03, data range
    1, population covariance; on each RGB channel, averaged over channels and over the positions where the
    whole window lies inside the picture (border "valid": the outer 5 pixels are not scored). float64: in a
    flat region the variance is a difference of nearly equal numbers. Raises TypeError unless floating,
    ValueError on other shapes, ranges, or sides below 11.
    """
    a, b = _pictures(a), _pictures(b)
    if a.shape != b.shape:
        raise ValueError(f"pictures of different shapes: {tuple(a.shape)} and {tuple(b.shape)}")
    with torch.no_grad():  # eps 0: the constants already keep the denominator positive
        return ssim_map(a, b, WINDOW, max_val=1.0, eps=0.0, padding="valid").mean(dim=(1, 2, 3)).cpu().numpy()


def feature_cosine(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Cosine of each pair of feature vectors: (N,D) twice -> (N,) in [-1,1]; NaN where a vector is zero.

    Raises ValueError on shapes that do not fit.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"features need one shape (N,D), got {a.shape} and {b.shape}")
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return ((a * b).sum(axis=1) / np.where(lengths, lengths, np.nan)).clip(-1, 1)


def _pictures(x: torch.Tensor | ArrayLike) -> torch.Tensor:
    x = torch.as_tensor(x)
    if not x.is_floating_point():
        raise TypeError(f"pictures are floats in [0,1], got {x.dtype}")
    if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < WINDOW:
        raise ValueError(f"pictures need the shape (N,3,H>={WINDOW},W>={WINDOW}), got {tuple(x.shape)}")
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError("pictures hold values outside [0,1]")
    return x.double()
