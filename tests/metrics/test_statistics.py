import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from ril_bench.metrics.statistics import mean_interval, paired_difference, standard_error


def test_by_hand():
    # 1..5: mean 3, SD sqrt(10/4), SE sqrt(.5) = .7071; t(.975, 4) = 2.7764 from the printed table
    found = mean_interval([1.0, 2, 3, 4, 5])
    assert (found.mean, found.n) == (3.0, 5)
    assert found.se == pytest.approx(math.sqrt(0.5))
    assert found.high - found.mean == pytest.approx(2.7764 * math.sqrt(0.5), abs=1e-4)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=12).filter(lambda x: len(set(x)) > 1))
def test_against_scipy(values):
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean_interval(values)
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert found.se == pytest.approx(scipy.stats.sem(values))


@pytest.mark.parametrize("n", [5, 10])
def test_covers_its_95_percent(n):
    rng = np.random.default_rng(0)
    found = [mean_interval(rng.normal(size=n)) for _ in range(4000)]
    assert np.mean([x.low <= 0 <= x.high for x in found]) == pytest.approx(
        0.95, abs=0.011
    )  # 3 SE of the simulation


def test_one_unit_has_a_mean_and_no_interval():
    found = mean_interval([2.0])
    assert found.mean == 2.0
    assert math.isnan(standard_error([2.0]))
    assert all(math.isnan(x) for x in (found.low, found.high, found.se))


def test_claims_nothing_below_five_units():
    assert [mean_interval(range(n)).claims for n in (1, 4, 5, 6)] == [False, False, True, True]


def test_an_undefined_value_makes_the_mean_undefined():
    found = mean_interval([1.0, float("nan"), 2.0])
    assert math.isnan(found.mean)
    assert math.isnan(found.low)
    assert found.n == 3


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]]])
def test_refuses_what_are_no_units(values):
    with pytest.raises(ValueError, match="one or more units"):
        mean_interval(values)


A = {("given", 0): 1.0, ("given", 1): 4.0, ("swapped", 0): 9.0}
B = {("swapped", 0): 8.0, ("given", 0): 0.5, ("given", 1): 3.0}


class TestPaired:
    def test_pairs_by_unit_and_not_by_position(self):
        # differences .5, 1, 1: mean 2.5/3
        found = paired_difference(A, B)
        assert found.mean == pytest.approx(2.5 / 3)
        assert not found.claims
        expected = scipy.stats.ttest_rel([1.0, 4.0, 9.0], [0.5, 3.0, 8.0]).confidence_interval(0.95)
        assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))

    def test_is_tighter_than_either_where_units_differ(self):
        assert paired_difference(A, B).se < 0.2 * mean_interval(list(A.values())).se

    def test_takes_columns_of_a_table(self):
        table = pd.DataFrame({"rid": A, "naive": B})
        assert paired_difference(table["rid"].to_dict(), table["naive"].to_dict()) == paired_difference(A, B)

    def test_names_units_without_a_partner(self):
        with pytest.raises(ValueError, match=r"\('swapped', 0\)"):
            paired_difference(A, {k: v for k, v in B.items() if k != ("swapped", 0)})
