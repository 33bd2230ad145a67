from __future__ import annotations

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.reporting import plots
from ril_bench.reporting.svg import Axes, marker, spread, tick_labels, ticks

FINITE = st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-6)


@given(FINITE, FINITE, st.integers(2, 8), st.booleans())
def test_ticks_are_round_within_and_evenly_apart(a: float, b: float, most: int, whole: bool) -> None:
    low, high = sorted((a, b))
    found = ticks(low, high, most, whole)
    slack = 1e-6 * max(high - low, 1e-9)
    assert all(low - slack <= value <= high + slack for value in found)
    assert len(found) <= most + 1
    steps = [y - x for x, y in pairwise(found)]
    for step in steps:
        assert step == pytest.approx(steps[0], rel=1e-6)
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-4
    if whole:
        assert all(step >= 1 - 1e-9 for step in steps)


@given(st.lists(st.one_of(st.none(), FINITE, st.just(math.nan)), max_size=8))
def test_an_axis_holds_every_value(values: list[float | None]) -> None:
    low, high = spread(values)
    assert low < high
    assert all(low <= v <= high for v in values if v is not None and math.isfinite(v))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], ["0", "0.5", "1.0"]),
        ([-10.0, 0.0], ["−10", "0"]),
        ([13000.0, 13500.0], ["13.0k", "13.5k"]),
    ],
)
def test_tick_labels(values: list[float], expected: list[str]) -> None:
    assert tick_labels(values) == expected


def test_the_corners_of_the_data_are_the_corners_of_the_box() -> None:
    axes = Axes((-1, 3), (10, 20), size=(200, 100), margin=(30, 10, 5, 15))
    assert axes.at(-1, 10) == (30, 85)
    assert axes.at(3, 20) == (190, 5)


def test_a_curve_is_broken_where_a_value_is_missing_and_a_lone_point_is_seen() -> None:
    axes = Axes((0, 6), (0, 1))
    axes.curve([(0, 0.1), (1, 0.2), (2, 0.4), (3, None), (4, 0.5), (5, math.nan), (6, 0.9)], "s0")
    drawn = ElementTree.fromstring(axes.svg("x"))
    assert [element.tag for element in drawn] == ["polyline", "circle", "circle"]
    assert len(drawn[0].attrib["points"].split()) == 3


def test_36_methods_have_a_marker_of_their_own() -> None:
    assert len({str(marker(0, 0, kind, f"s{kind % 6}")) for kind in range(36)}) == 36


def test_words_in_a_plot_are_text() -> None:
    nasty = '</text><script>alert("x")</script>\x07'
    drawn = plots.curves({nasty: [(1, 0.0), (2, 1.0)]}, unit=nasty, label=nasty)
    root = ElementTree.fromstring(drawn)
    assert {element.tag for element in root.iter()} == {"svg", "line", "text"}
    assert root.attrib["aria-label"] == nasty[:-1]


def test_a_long_log_is_thinned_and_keeps_its_range() -> None:
    points = [(float(k), math.sin(k / 500)) for k in range(5000)]
    drawn = ElementTree.fromstring(plots.curves({"a": points}, unit="u", label="l"))
    thin, thick = (line.attrib["points"].split() for line in drawn.iter("polyline"))
    assert 200 < len(thin) == len(thick) <= plots.DRAWN
    assert thin[0].startswith("52,")
    assert float(thin[-1].split(",")[0]) == pytest.approx(328, abs=2)
