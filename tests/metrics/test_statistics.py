import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ril_bench.metrics.statistics import (
    _resamples,
    holm,
    iqm,
    mean_interval,
    paired_difference,
    paired_p,
    ranks,
    share_improved,
    units_to_exclude,
)

values = st.floats(-1e3, 1e3).map(lambda x: round(x, 3))


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


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-100, 100), min_size=2, max_size=12).filter(lambda x: len(set(x)) > 1),
    st.integers(-100, 100),
)
def test_the_units_that_would_exclude_a_level_are_the_fewest(values, level):
    interval, spread = mean_interval(values), np.std(values, ddof=1)

    def excludes(n):
        low, high = scipy.stats.t.interval(0.95, n - 1, interval.mean, spread / math.sqrt(n))
        return not low <= level <= high

    found = units_to_exclude(interval, level)
    if found is None:
        assert not excludes(1000)
    else:
        assert found >= 5
        assert excludes(found)
        assert found == 5 or not excludes(found - 1)


def test_the_units_needed_are_not_known_from_a_single_one():
    assert units_to_exclude(mean_interval([3.0]), 0.0) is None
    assert units_to_exclude(mean_interval([1.0, -1.0]), 0.0) is None  # the mean is the level itself
    assert units_to_exclude(mean_interval([1.0, 1.0]), 0.0) == 5  # no spread: the fewest units that may claim


def coverage(draw, truth, n, samples=2000):
    """The share of intervals that contain the true mean; its standard error is .005 at .95."""
    rng = np.random.default_rng(0)
    found = [mean_interval(draw(rng, n)) for _ in range(samples)]
    return np.mean([x.low <= truth <= x.high for x in found]), found[0].kind


def normal(rng, n):
    return rng.normal(size=n)


def exponential(rng, n):
    return rng.exponential(size=n)


class TestCoverage:
    @pytest.mark.parametrize(("n", "kind"), [(5, "t"), (10, "t"), (30, "bootstrap-t")])
    def test_of_a_normal(self, n, kind):
        covered, used = coverage(normal, 0.0, n)
        assert used == kind
        assert 0.93 <= covered <= 0.97

    def test_of_a_skewed_distribution_from_20_units(self):
        covered, _ = coverage(exponential, 1.0, 20)
        assert 0.93 <= covered <= 0.97  # Student's t: .92

    def test_of_heavy_tails_as_paired_differences_have_them(self):
        covered, _ = coverage(lambda rng, n: rng.laplace(size=n), 0.0, 30)
        assert 0.94 <= covered <= 0.97  # the bootstrap-t with two tails: .93


class TestBootstrapT:
    def test_against_a_plain_bootstrap_of_the_studentised_mean(self):
        """The 0.95 quantile of |t*| over 20,000 resamples, drawn and studentised in one line each."""
        x = np.random.default_rng(3).exponential(size=25)

        samples = np.random.default_rng(1).choice(x, (20_000, len(x)))
        t = (samples.mean(1) - x.mean()) / (samples.std(1, ddof=1) / np.sqrt(len(x)))
        expected = np.quantile(np.abs(t), 0.95)
        found = mean_interval(x)
        # 4 SE of a .95 quantile from 1,999 resamples, where the density of |t*| is about .1
        assert (found.high - found.mean) / found.se == pytest.approx(expected, abs=0.2)
        assert (found.mean - found.low) / found.se == pytest.approx(expected, abs=0.2)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 10_000), st.integers(20, 40), st.floats(0.1, 10), st.floats(-5, 5))
    def test_moves_and_scales_with_the_values(self, seed, n, scale, shift):
        x = np.random.default_rng(seed).exponential(size=n)
        plain, moved, mirrored = (mean_interval(y) for y in (x, scale * x + shift, -x))
        assert (moved.low, moved.high) == (
            pytest.approx(scale * plain.low + shift),
            pytest.approx(scale * plain.high + shift),
        )
        assert (mirrored.low, mirrored.high) == (pytest.approx(-plain.high), pytest.approx(-plain.low))

    def test_is_wider_than_students_where_the_values_are_skewed(self):
        x = np.random.default_rng(0).exponential(size=25)
        student = scipy.stats.ttest_1samp(x, 0).confidence_interval(0.95)
        assert mean_interval(x).high - mean_interval(x).low > 1.05 * (student.high - student.low)

    def test_the_same_values_give_the_same_bounds(self):
        x = np.random.default_rng(0).normal(size=25)
        first = mean_interval(x)
        _resamples.cache_clear()  # else both have the same draws, whether these have a seed or not
        assert mean_interval(x) == first

    def test_values_nearly_all_the_same_fall_back_to_students_t(self):
        # a resample of one value only, with probability (19/20)^20 = .36, has no standard error
        x = [1.0] * 19 + [2.0]
        found, expected = mean_interval(x), scipy.stats.ttest_1samp(x, 0).confidence_interval(0.95)
        assert (found.kind, found.low, found.high) == (
            "t",
            pytest.approx(expected.low),
            pytest.approx(expected.high),
        )

    @pytest.mark.parametrize("value", [0.0, 0.1, -90.6])
    def test_equal_values_leave_no_doubt(self, value):
        found = mean_interval([value] * 25)
        assert (found.low, found.high) == (pytest.approx(value), pytest.approx(value))

    def test_an_undefined_value_makes_all_of_it_undefined(self):
        values = [1.0, float("nan"), *range(20)]
        found = mean_interval(values)
        assert all(math.isnan(x) for x in (found.mean, found.low, found.high, found.se, iqm(values)))


class TestInterquartileMean:
    @given(st.lists(values, min_size=1, max_size=40))
    def test_against_scipy(self, x):
        assert iqm(x) == pytest.approx(scipy.stats.trim_mean(x, 0.25))

    def test_by_hand(self):
        assert iqm([0, 1, 2, 3, 100]) == 2  # one value is cut from each end
        assert iqm([0, 1, 50]) == 17  # too few values to cut

    def test_an_outlier_does_not_move_it(self):
        assert iqm([1, 2, 3, 4, 5, 6, 7, 800]) == iqm([1, 2, 3, 4, 5, 6, 7, 8])


def test_one_unit_has_a_mean_and_no_interval():
    found = mean_interval([2.0])
    assert found.mean == 2.0
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

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(values, values), min_size=2, max_size=25))
    def test_p_against_scipy(self, pairs):
        a, b = (dict(enumerate(column)) for column in zip(*pairs, strict=True))
        assume(np.ptp([x - y for x, y in pairs]) > 1e-6)  # otherwise SciPy's statistic is a rounding error
        expected = scipy.stats.ttest_rel(list(a.values()), list(b.values())).pvalue
        assert paired_p(a, b) == pytest.approx(expected, rel=1e-6)

    def test_p_where_the_differences_have_no_spread(self):
        same = {0: 1.0, 1: 2.0}
        assert paired_p(same, same) == 1.0
        assert paired_p(same, {0: 0.0, 1: 1.0}) == 0.0
        assert math.isnan(paired_p({0: 1.0}, {0: 0.0}))
        assert math.isnan(paired_p({}, {}))
        assert math.isnan(paired_p({0: 1.0, 1: float("nan")}, same))

    def test_p_names_units_without_a_partner(self):
        with pytest.raises(ValueError, match=r"\('given', 1\)"):
            paired_p(A, {k: v for k, v in B.items() if k != ("given", 1)})


class TestImprovement:
    @given(st.lists(st.tuples(values, values), min_size=1, max_size=12))
    def test_against_scipys_ranks_within_each_unit(self, pairs):
        """The better of two has rank 2, the worse rank 1, and equal ones 1.5 each."""
        a, b = (dict(enumerate(column)) for column in zip(*pairs, strict=True))
        expected = np.mean(scipy.stats.rankdata(pairs, axis=1)[:, 0] - 1)
        assert share_improved(a, b, +1) == pytest.approx(expected)
        assert share_improved(a, b, -1) == pytest.approx(1 - expected)
        assert share_improved(b, a, +1) == pytest.approx(1 - expected)

    def test_by_hand(self):
        # better, equal, worse, better; over all 16 pairs of units it would be 9 / 16
        a, b = {0: 3.0, 1: 2.0, 2: 1.0, 3: 9.0}, {0: 1.0, 1: 2.0, 2: 5.0, 3: 2.5}
        assert share_improved(a, b, +1) == 2.5 / 4
        assert share_improved(a, b, -1) == 1.5 / 4

    @given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=12))
    def test_units_that_differ_do_not_hide_a_gain_in_each(self, units):
        b = {k: float(value) for k, value in enumerate(units)}
        assert share_improved({k: value + 1 for k, value in b.items()}, b, +1) == 1

    def test_an_undefined_value_makes_it_undefined(self):
        assert math.isnan(share_improved({0: 1.0, 1: float("nan")}, {0: 0.0, 1: 0.0}, +1))

    def test_refuses_nothing_and_names_units_without_a_partner(self):
        with pytest.raises(ValueError, match="one or more units"):
            share_improved({}, {}, +1)
        with pytest.raises(ValueError, match=r"\('given', 1\)"):
            share_improved(A, {k: v for k, v in B.items() if k != ("given", 1)}, +1)


class TestHolm:
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
    def test_is_bonferroni_closed_over_all_intersections(self, p):
        """p of i is the maximum, over the sets with i, of the set's size times its smallest p.  [Marcus 1976]"""
        units = range(len(p))
        sets = [chosen for size in units for chosen in combinations(units, size + 1)]
        bonferroni = {chosen: min(1.0, len(chosen) * min(p[i] for i in chosen)) for chosen in sets}
        expected = [max(value for chosen, value in bonferroni.items() if i in chosen) for i in units]
        assert list(holm(dict(enumerate(p))).values()) == pytest.approx(expected)

    def test_by_hand(self):
        # .01 * 3, .02 * 2, .04 * 1, and never below the previous one
        assert holm({"c": 0.04, "a": 0.01, "b": 0.02}) == pytest.approx({"c": 0.04, "a": 0.03, "b": 0.04})

    def test_an_undefined_comparison_still_counts(self):
        found = holm({"a": 0.01, "b": float("nan")})
        assert found["a"] == pytest.approx(0.02)
        assert math.isnan(found["b"])

    def test_refuses_what_is_no_p_value(self):
        with pytest.raises(ValueError, match="between 0 and 1"):
            holm({"a": 1.5})


def units(*values):
    return {("given", seed): value for seed, value in enumerate(values)}


def test_ranks_by_hand():
    # b - a is 1 on average with SD .1, so they differ significantly; c is between a and b, and differs from neither
    values = {
        "a": units(1.0, 2.0, 3.0, 4.0, 5.0),
        "b": units(2.1, 3.0, 3.9, 5.0, 6.0),
        "c": units(9.0, 0.0, 1.0, 8.0, -0.5),
    }
    found = ranks(values, +1)
    assert {name: (r.rank, r.low, r.high) for name, r in found.items()} == {
        "a": (3, 2, 3),
        "b": (1, 1, 2),
        "c": (2, 1, 3),
    }
    turned = ranks(values, -1)
    assert {name: (r.rank, r.low, r.high) for name, r in turned.items()} == {
        "a": (1, 1, 2),
        "b": (3, 2, 3),
        "c": (2, 1, 3),
    }


@settings(max_examples=40)
@given(st.lists(st.lists(values, min_size=5, max_size=5), min_size=1, max_size=5), st.sampled_from([1, -1]))
def test_ranks_against_scipy(rows, better):
    found = ranks({k: units(*row) for k, row in enumerate(rows)}, better)
    means = [-better * math.fsum(row) / 5 for row in rows]
    assert [r.rank for r in found.values()] == list(scipy.stats.rankdata(means, method="min"))
    for r in found.values():
        assert 1 <= r.low <= r.rank <= r.high <= len(rows)


def test_equal_methods_are_seldom_told_apart():
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(200):
        drawn = {k: units(*rng.standard_normal(5)) for k in range(4)}
        wrong += any((r.low, r.high) != (1, 4) for r in ranks(drawn, 1).values())
    assert wrong <= 18  # .05 of 200 is 10; P(X > 18) < .01


def test_a_rank_takes_the_same_units_and_finite_values():
    with pytest.raises(ValueError, match="without a partner"):
        ranks({"a": units(1.0, 2.0), "b": units(1.0)}, 1)
    with pytest.raises(ValueError, match="not finite"):
        ranks({"a": units(1.0, math.nan), "b": units(1.0, 2.0)}, 1)
