"""Every expected number is computed by hand, in the comment next to it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.metrics import anytime as a
from ril_bench.metrics import continual as c

nan = float("nan")

# T = 3; two evaluations in task 1, three in task 2, two in task 3. The last evaluation of a task is its end.
K = [1, 1, 2, 2, 2, 3, 3]
N = np.array(
    [
        [0.5, 0.1, 0.0],
        [1.0, 0.2, 0.0],
        [0.2, 0.4, 0.0],  # task 1 falls, and
        [0.6, 0.7, 0.1],  # recovers: the stability gap
        [0.8, 0.9, 0.1],
        [0.7, 0.3, 0.5],
        [0.9, 0.5, 0.8],
    ]
)
ENDS = [1, 4, 6]


def near(x):
    return pytest.approx(x, abs=1e-12)


def test_average_anytime():
    # task 1: .5, 1.0;  task 2: (.2 + .4)/2, (.6 + .7)/2, (.8 + .9)/2;  task 3: 1.5/3, 2.2/3
    assert a.average_anytime(N, K) == near((0.5 + 1.0 + 0.3 + 0.65 + 0.85 + 0.5 + 2.2 / 3) / 7)


def test_minimum():
    # task 1 after its end: .2 .6 .8 .7 .9;  task 2 after its end: .3 .5
    assert a.minimum(N, K) == near((0.2 + 0.3) / 2)


def test_worst_case():
    # .8 / 3 + 2/3 * .25
    assert a.worst_case(N, K) == near(0.8 / 3 + 2 / 3 * 0.25)


def test_the_ends_alone_hide_the_gap():
    # task 1: .8, .9;  task 2: .5
    assert a.minimum(N[ENDS], [1, 2, 3]) == near((0.8 + 0.5) / 2)


def test_what_a_task_was_before_or_at_its_end_is_no_forgetting():
    low = N.copy()
    low[:2, 0], low[2:5, 1], low[:, 2] = -9, -9, -9
    assert a.minimum(low, K) == a.minimum(N, K)


def test_one_task():
    assert a.average_anytime([[0.2], [0.6]], [1, 1]) == near(0.4)
    assert math.isnan(a.minimum([[0.2], [0.6]], [1, 1]))
    assert a.worst_case([[0.2], [0.6]], [1, 1]) == near(0.6)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_at_the_ends_alone_it_is_the_average_incremental_score(T, seed):
    matrix = np.random.default_rng(seed).normal(size=(T + 1, T))
    ends = range(1, T + 1)
    assert a.average_anytime(matrix[1:], ends) == near(c.average_incremental(matrix))
    assert a.worst_case(matrix[1:], ends) <= c.final(matrix) + 1e-12


def test_a_missing_cell():
    holed = N.copy()
    holed[3, 0] = nan
    assert math.isnan(a.minimum(holed, K))
    assert math.isnan(a.worst_case(holed, K))
    assert math.isnan(a.average_anytime(holed, K))
    holed = N.copy()
    holed[0, 2] = nan  # task 3 before its training: nothing depends on this value
    assert a.anytime(holed[:, :, None] + [-1, 1], K) == pytest.approx(a.anytime(N[:, :, None] + [-1, 1], K))


class TestFloor:
    def test_shared_noise_has_none(self):
        assert a.minimum_floor(N[:, :, None] + np.array([-0.5, 0.5]), K) == near(0)

    def test_independent_noise_has_the_expected_minimum_of_normals(self):
        """Column 1 has 4 later cells, column 2 has 2: E min of n standard normals is -1.0294 and -.5642."""
        k = [1, 2, 2, 3, 3]
        rng = np.random.default_rng(0)
        found = [a.minimum_floor(rng.normal(size=(5, 3, 400)), k, draws=300) for _ in range(30)]
        assert np.mean(found) == pytest.approx((1.0294 + 0.5642) / 2 / np.sqrt(400), rel=0.05)

    def test_it_is_in_the_block(self):
        scores = N[:, :, None] + np.array([-0.5, 0.5])
        assert a.anytime(scores, K) == {
            "AAA": near(a.average_anytime(N, K)),
            "MINPERF": near(0.25),
            "MINPERF_floor": near(0),
            "WC-ACC": near(0.8 / 3 + 2 / 3 * 0.25),
        }


@pytest.mark.parametrize(
    "k", [[1, 1, 2], [1, 1, 2, 2, 2, 2, 2], [1, 1, 3, 2, 2, 3, 3], [0, 1, 2, 2, 2, 3, 3]]
)
def test_refuses_other_tasks(k):
    with pytest.raises(ValueError, match="evaluations"):
        a.minimum(N, k)


def test_the_mean_along_a_curve_by_hand():
    # (0 + 1)/2 * .25 + (1 + 2)/2 * .75
    assert a.mean_along([0, 0.25, 1], [0, 1, 2]) == near(0.125 + 1.125)


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(-10, 10), st.floats(-10, 10))
def test_the_mean_along_a_line_is_its_middle(shares, start, end):
    x = np.array([0.0, *sorted(shares), 1.0])
    assert a.mean_along(x, start + (end - start) * x) == pytest.approx((start + end) / 2, abs=1e-9)


@pytest.mark.parametrize("shares", [[0, 0.5], [0.1, 1], [0, 0.6, 0.4, 1], [0], [[0, 1]]])
def test_shares_that_do_not_ascend_to_1_are_refused(shares):
    with pytest.raises(ValueError, match=r"shares ascend|a curve has"):
        a.mean_along(shares, np.zeros_like(shares))
