from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.reporting import text


@pytest.mark.parametrize("write", [text.fixed, text.short, text.count, text.seconds, text.size, text.ratio])
@pytest.mark.parametrize("missing", [None, math.nan, math.inf, -math.inf, "0", True])
def test_missing_is_an_en_dash(write, missing) -> None:
    assert write(missing) == "–"


@given(st.floats(-1e9, 1e9), st.integers(0, 5))
def test_fixed_reads_back(value: float, places: int) -> None:
    shown = text.fixed(value, places)
    assert abs(float(shown.replace("−", "-")) - value) <= 0.5 * 10**-places * (1 + 1e-9) + 1e-6 * (
        abs(value) > 1e6
    )
    assert "-" not in shown
    assert not (shown.startswith("−") and float(shown[1:]) == 0)


@pytest.mark.parametrize(
    ("write", "value", "shown"),
    [
        (text.short, 1.6249, "1.62"),
        (text.short, 31.04, "31.0"),
        (text.short, -0.01234, "−0.0123"),
        (text.short, 0, "0.00"),
        (text.count, 1234567, "1\u202f234\u202f567"),
        (text.seconds, 0.04, "0.0 s"),
        (text.seconds, 99.4, "99.4 s"),
        (text.seconds, 3599, "60 min"),
        (text.seconds, 7265, "2 h 01 min"),
        (text.size, 999, "999 B"),
        (text.size, 403456, "403.5 kB"),
        (text.size, 999_960, "1.0 MB"),
        (text.size, 2.5e12, "2500.0 GB"),
        (text.ratio, 1.0714, "1.07×"),
    ],
)
def test_examples(write, value: float, shown: str) -> None:
    assert write(value) == shown


def test_a_column_has_one_precision() -> None:
    assert text.decimals([None, 0.01, -31.2]) == 1
    assert text.decimals([None]) == text.decimals([0.0]) == 2
    assert text.decimals([123456.0]) == 0


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], ""),
        (["", ""], ""),
        (["stated"], "stated"),
        (["reproduced", "resampled", "resampled"], "resampled; 1 of 3 reproduced"),
    ],
)
def test_levels_of_entries_in_words(found: list[str], words: str) -> None:
    assert text.levels(found) == words
