"""Edge agreement: whether two images have their edges in the same places, for any colours."""

from __future__ import annotations

import numpy as np
import torch
from kornia.filters import canny
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_dilation, label

from ril_bench.metrics.structure import images_of

# Thresholds of the Sobel magnitude, which is 2.6 at a step from black to white
LOW, HIGH = 0.1, 0.2
# A pixel and the eight around it, within one image
NEIGHBOURS = np.ones((1, 3, 3), dtype=bool)


def edge_maps(images: torch.Tensor | ArrayLike) -> NDArray[np.bool_]:
    """Canny's edges (N,H,W) of images (N,3,H,W) in [0,1].  [Canny 1986]

    On grey values: a Gaussian of 5 pixels (sigma 1), Sobel gradients, thinning. A pixel above .2 is an edge, and so is
    a pixel above .1 that is connected to such a pixel (8 neighbours). Raises as `structure.images_of`.
    """
    _, found = canny(images_of(images), LOW, HIGH, hysteresis=False)  # 0, .5 weak, 1 strong
    strength = found[:, 0].cpu().numpy()
    # kornia's own hysteresis takes seconds: its time grows with the longest edge, pixel by pixel.
    pieces, number = label(strength > 0, structure=NEIGHBOURS & np.array([False, True, False])[:, None, None])
    is_edge = np.zeros(number + 1, dtype=bool)
    is_edge[pieces[strength == 1]] = True
    return np.asarray(is_edge[pieces])


def boundary_f1(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    """F1 = 2 P R / (P + R) of two edge maps (N,H,W): (N,).  [Martin et al. 2004; Csurka et al. 2013]

    P is the share of a's edge pixels that have an edge pixel of b on the same or one of the eight neighbouring pixels;
    R is the same with a and b exchanged. As in Csurka et al., dilation replaces the one-to-one matching of Martin et
    al. Range: 0 to 1; 1 where all edges agree or neither image has one, 0 where only one image has edges. Higher is
    better. A texture that a reward adds counts as new edges, so a faint pattern can lower the value by much.

    Raises ValueError on unequal shapes.
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
