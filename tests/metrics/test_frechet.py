import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance

from ril_bench.metrics.frechet import biased, frechet_distance, frechet_of_gaussians


def rotation(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12))
def test_commuting_covariances(seed, d):
    """With one eigenbasis and deviations s1, s2 it is sum (m1 - m2)^2 + sum (s1 - s2)^2."""
    rng = np.random.default_rng(seed)
    Q, (m1, m2), (s1, s2) = rotation(rng, d), rng.normal(size=(2, d)), rng.uniform(0, 3, size=(2, d))
    expected = ((m1 - m2) ** 2).sum() + ((s1 - s2) ** 2).sum()
    got = frechet_of_gaussians(m1, (Q * s1**2) @ Q.T, m2, (Q * s2**2) @ Q.T)
    assert got == pytest.approx(expected, abs=1e-6)


def test_any_covariances_against_the_general_matrix_root():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(60, 8)) @ rng.normal(size=(8, 8)), rng.normal(size=(50, 8)) + 0.3
    S1, S2 = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(S1 @ S2).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(S1 + S2 - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def features(n, d=64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.gamma(2, size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.parametrize("n", [128, 1000])
def test_against_torch_fidelity(n):
    a, b = features(n), features(n + 7, seed=1)
    statistics = [fid_features_to_statistics(torch.tensor(x)) for x in (a, b)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_against_torchmetrics():
    class Given(torch.nn.Module):
        """Returns its input, as if it had extracted these features."""

        num_features = 64

        def forward(self, x):
            return x

    metric = FrechetInceptionDistance(feature=Given(), normalize=True).set_dtype(torch.float64)
    a, b = features(300), features(300, seed=1)
    metric.update(torch.tensor(a), real=True)
    metric.update(torch.tensor(b), real=False)
    assert frechet_distance(a, b) == pytest.approx(float(metric.compute()), rel=1e-6)


def test_one_dimension_by_hand():
    # means 1 and 4, variances 2 (of 0, 2) and 18 (of 1, 7): 9 + (sqrt 18 - sqrt 2)^2 = 9 + (2 sqrt 2)^2 = 17
    assert frechet_distance([[0.0], [2.0]], [[1.0], [7.0]]) == pytest.approx(17.0)


def test_singular_covariances_against_the_data():
    """tr sqrt(S1 S2) is the sum of the singular values of A B^T, A and B being centred and scaled rows."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(6, 15)), rng.normal(size=(9, 15)) + 1
    A, B = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b))
    root = np.linalg.svd(A @ B.T, compute_uv=False).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + (A**2).sum() + (B**2).sum() - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-6)
    wide = rng.normal(size=(40, 15))  # only one of the two covariances is singular
    assert frechet_distance(a, wide) == pytest.approx(frechet_distance(wide, a), rel=1e-6)


@pytest.mark.parametrize("n", [5, 200])  # below the dimension the covariance is singular
def test_identical_sets_are_at_zero(n):
    x = np.random.default_rng(0).normal(size=(n, 20)).astype(np.float32)
    assert 0 <= frechet_distance(x, x) < 1e-6


def test_a_rounding_error_is_never_a_negative_distance():
    rng = np.random.default_rng(0)
    assert min(frechet_distance(x, x) for x in rng.normal(size=(50, 6, 12))) >= 0.0


def test_a_shift_adds_its_square():
    x = np.random.default_rng(0).normal(size=(40, 3))
    assert frechet_distance(x, x + np.array([1.0, 2.0, 0.0])) == pytest.approx(5.0)


@pytest.mark.parametrize(("n1", "n2"), [(400, 400), (200, 600)])
def test_two_sets_of_one_gaussian(n1, n2):
    """n >= 2d: E[FD] ~ (1/n1 + 1/n2) (tr S + 1/2 sum_ij l_i l_j (1 + d_ij)/(l_i + l_j))."""
    rng, d = np.random.default_rng(0), 6
    values = np.linspace(0.2, 2.0, d)
    root = rotation(rng, d) * np.sqrt(values)
    pairs = values[:, None] * values * (1 + np.eye(d)) / (values[:, None] + values)
    expected = (1 / n1 + 1 / n2) * (values.sum() + pairs.sum() / 2)
    found = [
        frechet_distance(rng.normal(size=(n1, d)) @ root.T, rng.normal(size=(n2, d)) @ root.T)
        for _ in range(400)
    ]
    assert np.mean(found) == pytest.approx(expected, rel=0.05)


def test_biased_below_twice_the_dimension_in_either_set():
    x = np.zeros((128, 64))
    assert not biased(x, x)
    assert biased(x[:127], x)
    assert biased(x, x[:127])


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((4, 2)), np.zeros((4, 3)), "different dimensions"),
        (np.zeros((1, 2)), np.zeros((4, 2)), "n>=2"),
        (np.zeros(4), np.zeros((4, 2)), "n>=2"),
        (np.full((4, 2), np.nan), np.zeros((4, 2)), "NaN"),
    ],
)
def test_refuses(a, b, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)
