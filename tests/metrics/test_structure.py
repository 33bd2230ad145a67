import lpips
import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim as reference_ms_ssim
from skimage.metrics import structural_similarity
from skimage.transform import downscale_local_mean

from ril_bench.metrics.structure import (
    feature_cosine,
    moments,
    ms_ssim,
    perceptual_distance,
    scales,
    similarities,
    ssim,
)


def images(n=4, side=32, seed=0):
    rng = np.random.default_rng(seed)
    smooth = np.linspace(0, 1, side) * rng.uniform(0.2, 1, size=(n, 3, side, 1))
    return smooth, (
        smooth + rng.normal(scale=[[[[0.01]]], [[[0.05]]], [[[0.2]]], [[[1.0]]]], size=smooth.shape)
    ).clip(0, 1)


def reference(a, b, **constants):
    """scikit-image with Wang's window; it crops the 5 border pixels before its mean."""
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    channel = 0 if a.ndim == 3 else None
    return structural_similarity(a, b, **window, **constants, data_range=1.0, channel_axis=channel)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_scikit_image(dtype):
    a, b = (x.astype(dtype) for x in images())
    expected = [reference(x, y) for x, y in zip(a, b, strict=True)]
    assert min(expected) < 0.2  # the pairs span the whole range
    assert max(expected) > 0.9
    np.testing.assert_allclose(ssim(a, b), expected, atol=1e-4)


def test_only_whole_windows_count():
    a = np.full((1, 3, 32, 32), 0.5)
    b = a.copy()
    b[..., 0, :] = (
        1.0  # only the windows of the first scored row of positions, 5 pixels inside, hold this row
    )
    found = ssim(a, b)[0]
    assert found == pytest.approx(reference(a[0], b[0]), abs=1e-9)
    # 22 x 22 positions; the images differ only in the windows of 1 of 22 rows
    assert 21 / 22 < found < 1


def test_by_hand_on_flat_images():
    # no variance: (2 m1 m2 + c1)/(m1^2 + m2^2 + c1), c1 = 1e-4: (.16 + 1e-4)/(.04 + .16 + 1e-4) for .2 and .4
    a, b = np.full((1, 3, 16, 16), 0.2), np.full((1, 3, 16, 16), 0.4)
    assert ssim(a, b)[0] == pytest.approx(0.1601 / 0.2001, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_identical_is_one_even_when_flat(value):
    x = torch.full((2, 3, 16, 16), value)
    assert ssim(x, x).tolist() == [1.0, 1.0]


def test_takes_what_the_sampler_gives():
    a, b = images()
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
def test_refuses_what_are_no_images(a, error):
    with pytest.raises(error):
        ssim(a, a)


def test_refuses_an_unequal_number():
    with pytest.raises(ValueError, match="different shapes"):
        ssim(np.zeros((2, 3, 16, 16)), np.zeros((1, 3, 16, 16)))


def test_feature_cosine():
    # (3,4).(4,3) / 25 = .96; opposite; at a right angle; the same direction, but longer
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


class TestMultiScale:
    def test_against_pytorch_msssim(self):
        a, b = (torch.tensor(x) for x in images(side=176))
        expected = reference_ms_ssim(a, b, data_range=1.0, size_average=False)
        assert float(expected.min()) < 0.3
        np.testing.assert_allclose(ms_ssim(a, b), expected, atol=1e-4)

    def test_three_scales_against_scikit_image(self):
        """scikit-image's SSIM: at two scales with K1 so large that luminance is 1, at the third in full."""
        weights = np.array([0.0448, 0.2856, 0.3001]) / (0.0448 + 0.2856 + 0.3001)

        def one(a, b):
            coarser = [(a, b)]
            for _ in range(2):
                coarser.append(tuple(downscale_local_mean(x, (2, 2)) for x in coarser[-1]))
            factors = [reference(*pair, K1=k1) for pair, k1 in zip(coarser, (1e6, 1e6, 0.01), strict=True)]
            return np.prod(np.maximum(factors, 0) ** weights)

        a, b = images(side=64)
        expected = [
            np.mean([one(x, y) for x, y in zip(*pair, strict=True)]) for pair in zip(a, b, strict=True)
        ]
        assert min(expected) < 0.3
        np.testing.assert_allclose(ms_ssim(a, b), expected, atol=1e-4)

    def test_one_scale_is_ssim(self):
        a, b = images(side=16)
        np.testing.assert_allclose(ms_ssim(a, b), ssim(a, b).clip(0), atol=1e-12)

    @pytest.mark.parametrize(
        ("side", "expected"), [(10, 0), (11, 1), (21, 1), (22, 2), (64, 3), (175, 4), (176, 5), (1024, 5)]
    )
    def test_scales(self, side, expected):
        assert scales(side, 2 * side) == scales(2 * side, side) == expected

    def test_identical_is_one_and_the_opposite_is_not_below_zero(self):
        a, b = images(side=64)
        np.testing.assert_allclose(ms_ssim(b, b), 1)
        assert (ms_ssim(a, 1 - a) >= 0).all()

    @pytest.mark.parametrize("side", [16, 64])
    def test_moments_give_both_similarities(self, side):
        a, b = images(side=side)
        for found, expected in zip(
            similarities(moments(a), moments(b)), (ssim(a, b), ms_ssim(a, b)), strict=True
        ):
            np.testing.assert_array_equal(found, expected)

    def test_refuses(self):
        with pytest.raises(ValueError, match="different shapes"):
            ms_ssim(np.zeros((2, 3, 16, 16)), np.zeros((1, 3, 16, 16)))


class TestPerceptualDistance:
    @pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
    def test_against_lpips_without_its_weights(self):
        """The package's own random network, in the mode that adds layers without fitted weights."""
        network = lpips.LPIPS(
            pretrained=False, pnet_rand=True, net="squeeze", lpips=False, verbose=False
        ).eval()
        a, b = (torch.tensor(x, dtype=torch.float32) for x in images(side=64))
        with torch.no_grad():
            expected = network(a, b, normalize=True).flatten()
            maps = [network.net(network.scaling_layer(2 * x - 1)) for x in (a, b)]
        assert float(expected.min()) > 0
        np.testing.assert_allclose(perceptual_distance(*maps), expected, rtol=1e-4)

    def test_by_hand(self):
        # first layer: with one channel a unit vector is a sign; 1 of 4 differs by 2: 4/4. Second: (1,0) and (0,1): 2
        a, b = torch.tensor([[[[1.0, 2], [3, 4]]]]), torch.tensor([[[[5.0, 6], [7, -8]]]])
        c, d = torch.tensor([3.0, 0]).reshape(1, 2, 1, 1), torch.tensor([0.0, 9]).reshape(1, 2, 1, 1)
        assert perceptual_distance([a, c], [b, d]) == pytest.approx([3.0])

    def test_nothing_active_on_either_side_is_alike(self):
        dead = torch.zeros(1, 4, 2, 2)
        assert perceptual_distance([dead], [dead]).tolist() == [0.0]

    @pytest.mark.parametrize("other", [[], [torch.zeros(1, 4, 2, 3)], [torch.zeros(1, 4, 2, 2)] * 2])
    def test_refuses_other_layers(self, other):
        with pytest.raises(ValueError, match="same one or more layers"):
            perceptual_distance([torch.zeros(1, 4, 2, 2)], other)
