import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.metrics.diversity import mean_pairwise_distance, vendi_score


@pytest.mark.parametrize("n", [1, 2, 7])
def test_identical_samples_count_once(n):
    assert vendi_score(np.tile([[1.0, -2.0, 0.5]], (n, 1))) == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_orthogonal_samples_count_each(n):
    assert vendi_score(3 * np.eye(n, 9)) == pytest.approx(n)


@given(st.integers(1, 9), st.integers(1, 9))
def test_two_groups(n, m):
    """Two orthogonal groups of equal samples, shares p and 1 - p: exp of the entropy of (p, 1 - p)."""
    p = n / (n + m)
    expected = math.exp(-p * math.log(p) - (1 - p) * math.log(1 - p))
    assert vendi_score([[2.0, 0.0]] * n + [[0.0, 1.0]] * m) == pytest.approx(expected)


@given(st.floats(0, math.pi))
def test_two_samples_at_an_angle(angle):
    """K/2 has the eigenvalues (1 +- cos)/2."""
    shares = [share for share in ((1 + math.cos(angle)) / 2, (1 - math.cos(angle)) / 2) if share > 0]
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    found = vendi_score([[1.0, 0.0], [3 * math.cos(angle), 3 * math.sin(angle)]])
    assert found == pytest.approx(expected, abs=1e-6)


def test_many_samples_in_few_dimensions():
    """In d dimensions the score is d at most, and equal shares of all directions reach it."""
    assert vendi_score(np.tile(np.eye(3), (20, 1))) == pytest.approx(3)


def test_a_zero_vector_has_no_direction():
    assert math.isnan(vendi_score([[0.0, 0.0], [1.0, 0.0]]))


def test_pairwise_by_hand():
    # a 3-4-5 triangle
    assert mean_pairwise_distance([[0, 0], [3, 0], [0, 4]]) == pytest.approx(4)
    assert mean_pairwise_distance([[1, 1], [1, 1]]) == 0
    assert math.isnan(mean_pairwise_distance([[1, 1]]))


@pytest.mark.parametrize("measure", [vendi_score, mean_pairwise_distance])
def test_refuses(measure):
    with pytest.raises(ValueError, match="shape"):
        measure([1.0, 2.0])
    with pytest.raises(ValueError, match="NaN"):
        measure([[np.nan, 1.0]])
