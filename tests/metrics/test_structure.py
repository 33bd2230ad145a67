import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from ril_bench.metrics.structure import feature_cosine, ssim


def pictures(n=4, side=32, seed=0):
    rng = np.random.default_rng(seed)
    smooth = np.linspace(0, 1, side) * rng.uniform(0.2, 1, size=(n, 3, side, 1))
    return smooth, (
        smooth + rng.normal(scale=[[[[0.01]]], [[[0.05]]], [[[0.2]]], [[[1.0]]]], size=smooth.shape)
    ).clip(0, 1)


def reference(a, b):
    """scikit-image with Wang's window; it crops the 5 border pixels before its mean."""
    return structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=0
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_scikit_image(dtype):
    a, b = (x.astype(dtype) for x in pictures())
    expected = [reference(x, y) for x, y in zip(a, b, strict=True)]
    assert min(expected) < 0.2  # the pairs span the whole range
    assert max(expected) > 0.9
    np.testing.assert_allclose(ssim(a, b), expected, atol=1e-4)


def test_only_whole_windows_count():
    a = np.full((1, 3, 32, 32), 0.5)
    b = a.copy()
    b[..., 0, :] = (
        1.0  # one window holds this row, and the row of positions 5 pixels inside is the first one scored
    )
    found = ssim(a, b)[0]
    assert found == pytest.approx(reference(a[0], b[0]), abs=1e-9)
    # 22 x 22 positions; elsewhere the pictures are alike, so all that is lost is lost in 1 of 22 rows
    assert 21 / 22 < found < 1


def test_by_hand_on_flat_pictures():
    # no variance: (2 m1 m2 + c1)/(m1^2 + m2^2 + c1), c1 = 1e-4: (.16 + 1e-4)/(.04 + .16 + 1e-4) for .2 and .4
    a, b = np.full((1, 3, 16, 16), 0.2), np.full((1, 3, 16, 16), 0.4)
    assert ssim(a, b)[0] == pytest.approx(0.1601 / 0.2001, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_identical_is_one_even_when_flat(value):
    x = torch.full((2, 3, 16, 16), value)
    assert ssim(x, x).tolist() == [1.0, 1.0]


def test_takes_what_the_sampler_gives():
    a, b = pictures()
    graph = torch.tensor(a, dtype=torch.float32, requires_grad=True)
    found = ssim(graph, torch.tensor(b, dtype=torch.float32))
    assert found.shape == (4,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, ssim(a, b), atol=1e-5)


@pytest.mark.parametrize(
    ("a", "error"),
    [
        (np.zeros((1, 3, 16, 16), dtype=np.uint8), TypeError),
        (np.full((1, 3, 16, 16), 255.0), ValueError),
        (np.full((1, 3, 16, 16), -1.0), ValueError),
        (np.full((1, 3, 16, 16), np.nan), ValueError),
        (np.zeros((1, 16, 16, 3)), ValueError),
        (np.zeros((1, 3, 10, 16)), ValueError),
        (np.zeros((3, 16, 16)), ValueError),
    ],
)
def test_refuses_what_are_no_pictures(a, error):
    with pytest.raises(error):
        ssim(a, a)


def test_refuses_an_unequal_number():
    with pytest.raises(ValueError, match="different shapes"):
        ssim(np.zeros((2, 3, 16, 16)), np.zeros((1, 3, 16, 16)))


def test_feature_cosine():
    # (3,4).(4,3) / 25 = .96; opposite; right angle; longer but alike
    a = np.array([[3.0, 4.0], [1.0, 1.0], [1.0, 0.0], [1.0, 2.0]], dtype=np.float32)
    b = np.array([[4.0, 3.0], [-2.0, -2.0], [0.0, 5.0], [10.0, 20.0]], dtype=np.float32)
    np.testing.assert_allclose(feature_cosine(a, b), [0.96, -1.0, 0.0, 1.0], atol=1e-12)
    x, y = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    np.testing.assert_allclose(feature_cosine(x, y), torch.nn.functional.cosine_similarity(x, y), atol=1e-12)


def test_feature_cosine_of_nothing_is_undefined():
    assert np.isnan(feature_cosine([[0.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]])).tolist() == [
        True,
        False,
    ]


def test_feature_cosine_refuses_unequal_shapes():
    with pytest.raises(ValueError, match="one shape"):
        feature_cosine(np.zeros((2, 3)), np.zeros((3, 3)))
