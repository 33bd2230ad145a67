"""Structure metrics: how similar two images of the same prompt and latents at two steps are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ril_bench.metrics.arrays import Array

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest first


def ssim(a: Tensor | ArrayLike, b: Tensor | ArrayLike) -> Array:
    """Structural similarity of each pair of images, (N,3,H,W) in [0,1] twice -> (N,).  [Wang et al. 2004]

    Range: -1 to 1; 1 is the identical image. Higher is closer. A shift of a few pixels or of the whole colour lowers it
    although the content is the same.

    Gaussian window of 11 pixels, sigma 1.5, K1 .01, K2 .03, data range 1, population covariance; on each RGB channel,
    averaged over channels and over the positions where the whole window lies inside the image, so the outer 5 pixels
    do not count. Computed in float64: in a flat region the variance is a difference of nearly equal numbers.

    Raises:
        TypeError: the images are not floating point.
        ValueError: other shapes, values outside [0,1], or sides below 11.
    """
    x, y = _pairs(a, b)
    similarity, _ = _similarity(_moments(x), _moments(y))
    return similarity.mean(axis=1)


def ms_ssim(a: Tensor | ArrayLike, b: Tensor | ArrayLike) -> Array:
    """Multi-scale SSIM of each pair, prod_{m<M} CS_m^{w_m} SSIM_M^{w_M}: (N,3,H,W) twice -> (N,).  [Wang et al. 2003]

    Range: 0 to 1; 1 is the identical image. Higher is closer. Images of different sizes have different scales, so their
    values cannot be compared.

    Contrast and structure CS count at every scale, luminance at the coarsest only; each scale is the 2x2 mean of the
    one before. M is `scales` of the image; small images use the finest M of the five weights, divided by their sum.
    CS and SSIM are those of `ssim`, with values below 0 set to 0. The product is taken on each RGB channel, then
    averaged. Raises as `ssim`.
    """
    _pairs(a, b)
    return similarities(moments(a), moments(b))[1]


@dataclass(frozen=True)
class Moments:
    """What SSIM needs of each image alone, on one scale; float64.

    Attributes:
        images: (N,3,H,W), in [0,1].
        mean: the windowed means of the images, (N,3,H-10,W-10).
        square: the windowed means of their squares.
    """

    images: Array
    mean: Array
    square: Array


def moments(images: Tensor | ArrayLike) -> list[Moments]:
    """The moments of images (N,3,H,W) on each scale of MS-SSIM, finest first.

    Compute them once for images that are compared several times: they are most of the work. Raises as `ssim`.
    """
    x = images_of(images, WINDOW).cpu().numpy()
    found = [_moments(x)]
    for _ in range(1, scales(*x.shape[2:])):
        x = _halved(x)
        found.append(_moments(x))
    return found


def similarities(a: Sequence[Moments], b: Sequence[Moments]) -> tuple[Array, Array]:
    """`ssim` and `ms_ssim` of each pair of images, (N,) each, from the moments of the images."""
    by_scale = [_similarity(x, y) for x, y in zip(a, b, strict=True)]
    ssim_of_scale, contrasts = zip(*by_scale, strict=True)
    weights = np.array(SCALE_WEIGHTS[: len(by_scale)])
    factors = [*contrasts[:-1], ssim_of_scale[-1]]  # luminance counts on the coarsest scale only
    product = np.prod(np.maximum(factors, 0) ** (weights / weights.sum())[:, None, None], axis=0)
    return ssim_of_scale[0].mean(axis=1), product.mean(axis=1)


def scales(height: int, width: int) -> int:
    """How many scales MS-SSIM has: the shorter side is halved while the window fits, 5 times at most.

    3 for 64 pixels; 5 from 176 pixels on.
    """
    fitting, side = 0, min(height, width)
    while side >= WINDOW and fitting < len(SCALE_WEIGHTS):
        fitting, side = fitting + 1, side // 2
    return fitting


def perceptual_distance(
    a: Sequence[Tensor], b: Sequence[Tensor], weights: Sequence[Tensor] | None = None
) -> Array:
    """LPIPS of each pair, sum_layers mean_positions sum_c w_c (a_c/|a| - b_c/|b|)^2: (N,).  [Zhang et al. 2018, eq. 1]

    |.| is over channels. Range: 0 upward; 0 is the identical image. Lower is closer. Without `weights` all w_c are 1,
    and the value is not calibrated to human judgement: compare it within one sequence, not with a published LPIPS.

    Args:
        a: feature maps (N,C,H,W) of the first images, one for each layer.
        b: the same of the second images.
        weights: (C,) for each layer, fitted to human judgement.

    Raises:
        ValueError: the layers do not fit.
    """
    if not a or [x.shape for x in a] != [y.shape for y in b]:
        raise ValueError("the two images need the same one or more layers of the same shapes")
    weights = weights or [x.new_ones(x.shape[1]) for x in a]
    layers = [
        ((_unit(x.double()) - _unit(y.double())).square() * w.double().view(-1, 1, 1))
        .sum(dim=1)
        .mean(dim=(1, 2))
        for x, y, w in zip(a, b, weights, strict=True)
    ]
    return np.asarray(torch.stack(layers).sum(dim=0).cpu().numpy())


def feature_cosine(a: ArrayLike, b: ArrayLike) -> Array:
    """Feature cosine a.b / (|a| |b|) of each pair of feature vectors, (N,D) twice -> (N,).

    Range: -1 to 1; 1 is the same direction. Higher is closer. NaN where a vector is zero. The features of most
    networks all point in nearly one direction, so unrelated images can reach .9: read it together with its floor.

    Raises ValueError on shapes that do not fit.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"features need one shape (N,D), got {a.shape} and {b.shape}")
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return ((a * b).sum(axis=1) / np.where(lengths, lengths, np.nan)).clip(-1, 1)


def _moments(x: Array) -> Moments:
    return Moments(x, _windowed(x), _windowed(x * x))


def _similarity(a: Moments, b: Moments) -> tuple[Array, Array]:
    """SSIM, and its contrast and structure CS alone, of each image and channel: (N,3) each."""
    mx, my, xy = a.mean, b.mean, _windowed(a.images * b.images)
    contrast = (2 * (xy - mx * my) + C2) / (a.square - mx * mx + b.square - my * my + C2)
    luminance = (2 * mx * my + C1) / (mx * mx + my * my + C1)
    return (luminance * contrast).mean(axis=(2, 3)), contrast.mean(axis=(2, 3))


def _windowed(x: Array) -> Array:
    """The Gaussian mean at each position where the whole window lies inside: (N,3,H,W) -> (N,3,H-10,W-10)."""
    radius = WINDOW // 2
    return gaussian_filter(x, SIGMA, radius=radius, axes=(2, 3))[:, :, radius:-radius, radius:-radius]


def _halved(x: Array) -> Array:
    """2x2 means; an odd last row or column is dropped."""
    n, c, height, width = x.shape
    blocks = x[:, :, : height // 2 * 2, : width // 2 * 2].reshape(n, c, height // 2, 2, width // 2, 2)
    return blocks.mean(axis=(3, 5))


def _unit(maps: Tensor) -> Tensor:
    """Length 1 over channels at every position; a position without activation stays 0."""
    return maps / (maps.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def _pairs(a: Tensor | ArrayLike, b: Tensor | ArrayLike) -> tuple[Array, Array]:
    x, y = images_of(a, WINDOW), images_of(b, WINDOW)
    if x.shape != y.shape:
        raise ValueError(f"images of different shapes: {tuple(x.shape)} and {tuple(y.shape)}")
    return x.cpu().numpy(), y.cpu().numpy()


def images_of(x: Tensor | ArrayLike, side: int = 1) -> Tensor:
    """x as float64 images (N,3,H,W) without a graph.

    Raises TypeError unless floating, ValueError on other shapes, values outside [0,1], or sides below `side`.
    """
    x = torch.as_tensor(x).detach()
    if not x.is_floating_point():
        raise TypeError(f"images are floats in [0,1], got {x.dtype}")
    if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < side:
        raise ValueError(f"images need the shape (N,3,H>={side},W>={side}), got {tuple(x.shape)}")
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError("images hold values outside [0,1]")
    return x.double()
