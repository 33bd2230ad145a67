import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from kornia.filters import canny
from scipy.spatial.distance import cdist

from ril_bench.metrics.edges import boundary_f1, edge_maps


def square(left=20, side=24, size=64, height=1.0):
    image = np.zeros((1, 3, size, size))
    image[:, :, 20 : 20 + side, left : left + side] = height
    return image


def noise(n=6, seed=0):
    """Images so smooth that weak and strong edges are connected."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 12, 12, generator=rng, dtype=torch.float64)
    fine = torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)
    return 0.4 * fine + 0.3


def test_edges_are_kornias_own():
    """kornia's hysteresis, which is much slower, finds the same edges."""
    x = noise()
    weak = canny(x, 0.1, 0.2, hysteresis=False)[1]
    expected = canny(x, 0.1, 0.2)[1] > 0
    assert bool(((weak > 0) & ~expected).any())  # some weak edges are dropped
    np.testing.assert_array_equal(edge_maps(x), expected[:, 0].numpy())


def test_edges_run_along_the_outline():
    found = edge_maps(square())[0]
    rows, _ = np.nonzero(found)
    assert rows.min() >= 19
    assert rows.max() <= 44
    assert not found[24:40, 24:40].any()
    assert found[24:40, 18:22].any(axis=1).all()


@settings(max_examples=60, deadline=None)
@given(arrays(bool, (2, 3, 7, 6)))
def test_against_distances(maps):
    """A match is a Chebyshev distance of 1 or less, computed for all pairs of edge pixels."""
    for a, b, found in zip(*maps, boundary_f1(*maps), strict=True):
        x, y = np.argwhere(a), np.argwhere(b)
        if not len(x) or not len(y):
            assert found == (len(x) == len(y))
            continue
        near = cdist(x, y, "chebyshev") <= 1
        precision, recall = near.any(axis=1).mean(), near.any(axis=0).mean()
        expected = 2 * precision * recall / (precision + recall) if near.any() else 0
        assert found == pytest.approx(expected)
    np.testing.assert_array_equal(boundary_f1(*maps), boundary_f1(*maps[::-1]))


def test_by_hand():
    # a line of 4 pixels above the end of a line of 2: all of the 2, and 3 of the 4, have a match within a pixel
    a, b = np.zeros((1, 5, 8), dtype=bool), np.zeros((1, 5, 8), dtype=bool)
    a[0, 2, 1:5], b[0, 3, 3:5] = True, True
    assert boundary_f1(a, b) == pytest.approx([2 * 0.75 / 1.75])


def agreement(a, b):
    return boundary_f1(edge_maps(a), edge_maps(b))


def test_a_pixel_is_tolerated_and_more_is_not():
    assert agreement(square(20), square(21)) == pytest.approx([1])
    assert agreement(square(20), square(26))[0] < 0.7


def test_colours_do_not_matter_where_the_outline_stays():
    assert agreement(square(), square(height=0.5)) == pytest.approx([1])


def test_images_without_edges():
    flat = np.full((1, 3, 64, 64), 0.3)
    assert agreement(flat, 0 * flat).tolist() == [1.0]
    assert agreement(flat, square()).tolist() == [0.0]


def test_refuses():
    with pytest.raises(ValueError, match="one shape"):
        agreement(square(), square(size=65))
    with pytest.raises(TypeError, match="floats"):
        agreement(np.zeros((1, 3, 8, 8), dtype=np.uint8), square())
