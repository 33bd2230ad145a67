"""The properties of a sequence against values computed by hand, and against SciPy and pandas."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ril_bench.metrics import properties as p
from ril_bench.metrics.properties import PROPERTIES

positive = st.floats(0.01, 100)


def matrices(last: list[list[float]]) -> np.ndarray:
    """N of several seeds, whose last rows are given; every task reached 1 directly after it was trained."""
    N = np.zeros((len(last), len(last[0]) + 1, len(last[0])))
    for j in range(len(last[0])):
        N[:, j + 1 :, j] = 1.0
    N[:, -1] = last
    return N


def test_headroom_is_the_smallest_gain():
    assert p.headroom([0.56, 0.21, 0.48]) == 0.21
    assert p.headroom_over_noise([0.6, 0.4], [0.01, 0.1]) == pytest.approx(4)
    assert p.headroom_over_noise([0.6, 0.4], [0.0, 0.1]) == pytest.approx(4)


@given(st.lists(positive, min_size=1, max_size=5), positive)
def test_equal_pushes_do_not_depend_on_unit_or_order(gains, factor):
    pushes = p.equal_pushes(gains)
    assert pushes >= 1
    assert p.equal_pushes([factor * gain for gain in reversed(gains)]) == pytest.approx(pushes)


def test_a_task_that_gains_nothing_has_infinite_pushes():
    assert p.equal_pushes([0.5, 0.0]) == math.inf
    assert p.equal_pushes([0.5, -0.1]) == math.inf
    assert p.equal_pushes([0.27, 0.076, 1.81]) == pytest.approx(1.81 / 0.076)


def test_what_is_kept_is_the_worst_step_to_step_0():
    # means over two seeds: .8 at step 0, then .72 and .4
    assert p.kept([[0.8, 0.8, 0.5], [0.8, 0.64, 0.3]]) == pytest.approx(0.5)


def test_attainable_is_the_mean_final_and_its_worst_task():
    joint = matrices([[1.0, 0.0], [0.6, 0.8]])
    assert p.attainable(joint) == pytest.approx(0.6)
    # 0.8 and 0.4 on average, although the lowest value of a seed is 0
    assert p.attainable_worst(joint) == pytest.approx(0.4)


def test_forgetting_is_the_interval_of_the_backward_transfer():
    lost = [0.5, 0.7, 0.9, 0.6]
    interval = p.forgetting(matrices([[1 - value, 1.0] for value in lost]))
    low, high = stats.t.interval(0.95, 3, -np.mean(lost), stats.sem(lost))
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert math.isnan(p.forgetting(matrices([[1.0], [1.0]])).high)  # a single task forgets nothing


def test_resolution_is_the_half_width_of_the_paired_difference_to_its_mean():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=10)  # the noise of a seed, which pairs cancel
    own = rng.normal(0, 0.1, size=10)
    joint = matrices([[value, value] for value in 2 + shared + own])
    naive = matrices([[value, value] for value in shared])
    gaps = 2 + own
    half = stats.t.ppf(0.975, 9) * stats.sem(gaps)
    distance = p.distance(joint, naive)
    assert distance.mean == pytest.approx(gaps.mean())
    assert p.resolution(distance) == pytest.approx(half / gaps.mean())
    assert p.resolution(p.distance(naive, joint)) == math.inf
    with pytest.raises(ValueError, match="zip"):
        p.distance(joint, naive[:9])


def test_equal_gradients_compare_medians():
    assert p.equal_gradients([[1, 2, 300], [0.5, 1, 0.1]]) == pytest.approx(4)


@given(st.lists(st.integers(-5, 5), min_size=3, max_size=20), st.integers(0, 2**32 - 1))
def test_agreement_is_the_correlation_of_ranks(scores, seed):
    tastes = np.random.default_rng(seed).integers(-5, 6, size=len(scores))
    found = p.agreement(scores, tastes)
    if np.ptp(scores) == 0 or np.ptp(tastes) == 0:
        assert math.isnan(found)
    else:  # ties have their mean rank
        ranks = pd.DataFrame({"score": scores, "taste": tastes}).rank()
        assert found == pytest.approx(ranks.corr().loc["score", "taste"])


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_bound_separates_values_that_hold_from_others(name):
    known = PROPERTIES[name]
    assert known.holds(None) is None
    assert known.holds(math.nan) is None
    if known.bound is None:
        assert known.holds(1.0) is None
        return
    inside = 0.01 if known.at_least else -0.01
    assert known.holds(known.bound)
    assert known.holds(known.bound + inside)
    assert known.holds(known.bound - inside) is False
    assert known.holds(math.inf) is known.at_least


def test_a_sentence_states_what_a_sequence_cannot_show():
    assert p.cannot_show({}) is None
    found = p.cannot_show({"headroom": 0.076, "headroom_over_noise": 6.2, "equal_pushes": None})
    assert found == (
        "this sequence cannot show how much a method learns (headroom 0.076, at least 0.4; headroom over noise 6.2, "
        "at least 10), or the same pressure in every task (equal pushes infinite, at most 1.5)"
    )
