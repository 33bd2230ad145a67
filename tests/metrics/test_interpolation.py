"""Interpolation at a level, against numpy's own and against the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.metrics.interpolation import at_level


def curve(seed: int, points: int, n: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A rising curve y = x^2 with noise that a unit's points share in part, and a level inside of it."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal(n)
    x = np.linspace(0, 1, points)[:, None] + noise * (rng.standard_normal((points, n)) + own)
    y = np.linspace(0, 1, points)[:, None] ** 2 + noise * rng.standard_normal((points, n))
    return x, y, 0.45 + noise * rng.standard_normal(n)


@given(st.integers(0, 1000), st.integers(2, 6), st.integers(1, 9))
def test_the_mean_is_numpys_interpolation_of_the_mean_curve(seed, points, n):
    x, y, level = curve(seed, points, n, 0.01)
    expected = np.interp(level.mean(), x.mean(axis=1), y.mean(axis=1))
    assert at_level(x, y, level).mean() == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 1000))
def test_units_on_parallel_lines_have_exactly_their_own_values(seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-2, 2, (4, 1)), axis=0) + np.zeros((4, 5))
    offset = rng.standard_normal(5)
    level = rng.uniform(x.min(), x.max(), 5)
    np.testing.assert_allclose(at_level(x, 3 * x + offset, level), 3 * level + offset, atol=1e-9)


def test_the_standard_error_is_that_of_the_bootstrap():
    x, y, level = curve(1, 5, 40, 0.05)
    values = at_level(x, y, level)
    rng = np.random.default_rng(0)
    means = []
    for _ in range(4000):
        rows = rng.integers(40, size=40)
        means.append(np.interp(level[rows].mean(), x[:, rows].mean(axis=1), y[:, rows].mean(axis=1)))
    assert values.std(ddof=1) / np.sqrt(40) == pytest.approx(np.std(means), rel=0.15)


def test_a_falling_curve_is_read_as_a_rising_one():
    x, y, level = curve(2, 4, 6, 0.01)
    np.testing.assert_allclose(at_level(x[::-1], y[::-1], level), at_level(x, y, level))


@pytest.mark.parametrize("level", [-0.1, 1.1])
def test_a_level_that_the_curve_does_not_reach_has_no_value(level):
    x = np.array([[0.0, 0.0], [1.0, 1.0]])
    assert at_level(x, x, [level, level]) is None
    assert at_level(x[:1], x[:1], [0.0, 0.0]) is None  # one point is no curve
    assert at_level(np.zeros((2, 2)), x, [0.0, 0.0]) is None  # no width: nothing to interpolate


def test_wrong_arrays_are_refused():
    good = np.zeros((2, 3))
    for x, y, level in ((good, good[:1], good[0]), (good, good, good[0, :2]), (good[0], good[0], good[0])):
        with pytest.raises(ValueError, match="shapes"):
            at_level(x, y, level)
    with pytest.raises(ValueError, match="NaN"):
        at_level(good, good * np.nan, good[0])
