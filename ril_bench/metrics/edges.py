"""Do two images have their edges in the same places? The outline of what they show, without its colours."""

from __future__ import annotations

import numpy as np
import torch
from kornia.filters import canny
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_dilation, label

from ril_bench.metrics.structure import images_of

LOW, HIGH = 0.1, 0.2  # of the Sobel magnitude, which a step from black to white takes to 2.6
NEIGHBOURS = np.ones((1, 3, 3), dtype=bool)  # a pixel and the eight around it, within one image


def edge_agreement(a: torch.Tensor | ArrayLike, b: torch.Tensor | ArrayLike) -> NDArray[np.float64]:
    """F1 of the edges of each pair of images, (N,3,H,W) in [0,1] twice -> (N,) in [0,1], 1 pixel tolerated.

    `boundary_f1` of Canny's edges. Raises as `ssim`, and ValueError on unequal shapes.
    """
    return boundary_f1(edge_maps(a), edge_maps(b))


def edge_maps(images: torch.Tensor | ArrayLike) -> NDArray[np.bool_]:
    """Canny's edges of images (N,3,H,W) in [0,1], as (N,H,W).  [Canny 1986]

    On grey values: a Gaussian of 5 pixels (sigma 1), Sobel gradients, thinning; what exceeds .2 is an edge,
    and so is what exceeds .1 and hangs together with it (8 neighbours).
    """
    _, found = canny(images_of(images), LOW, HIGH, hysteresis=False)  # 0, .5 weak, 1 strong
    strength = found[:, 0].cpu().numpy()
    # kornia's own hysteresis takes seconds: it goes on pixel by pixel until the longest edge is done.
    pieces, number = label(strength > 0, structure=NEIGHBOURS & np.array([False, True, False])[:, None, None])
    held = np.zeros(number + 1, dtype=bool)
    held[pieces[strength == 1]] = True
    return np.asarray(held[pieces])


def boundary_f1(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    """2 P R / (P + R) of edge maps (N,H,W): P, the share of a's pixels with one of b's within a pixel; R, of
    b's with one of a's, so the order does not matter.

    The boundary measure of Martin et al. (2004), with dilation in the place of their one-to-one matching as in
    Csurka et al. (2013). "Within a pixel" are the eight neighbours too. 1 where neither has an edge, 0 where
    only one has. Raises ValueError on unequal shapes.
    """
    if a.shape != b.shape or a.ndim != 3:
        raise ValueError(f"edge maps need one shape (N,H,W), got {a.shape} and {b.shape}")
    precision, recall = _matched(a, b), _matched(b, a)
    both = precision + recall
    found = 2 * precision * recall / np.where(both > 0, both, 1)
    empty = np.stack([~x.any(axis=(1, 2)) for x in (a, b)])
    return np.where(empty.all(axis=0), 1.0, np.where(empty.any(axis=0), 0.0, found))


def _matched(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    near = binary_dilation(b, structure=NEIGHBOURS)
    return (a & near).sum(axis=(1, 2)) / np.maximum(a.sum(axis=(1, 2)), 1)
