"""Seeds as text: numbers and ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.config.seeds import parse_seeds
from ril_bench.errors import UserError


@pytest.mark.parametrize(
    ("texts", "seeds"),
    [
        (["0-4,7"], [0, 1, 2, 3, 4, 7]),
        (["3", "1-2"], [3, 1, 2]),
        ([" 1 , 2 "], [1, 2]),
        (["0-2,1"], [0, 1, 2]),
        ([], []),
    ],
)
def test_numbers_and_ranges(texts, seeds):
    assert parse_seeds(texts) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "4-0", "1,,2", "0-", "1.5", "0-99999999999", "0-1-2"])
def test_a_text_that_names_no_seeds_is_refused(text):
    with pytest.raises(UserError, match="names no seeds") as caught:
        parse_seeds([text])
    assert caught.value.hint == "write 0, 0-4 or 0-4,7"


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_seeds_survive_their_text(seeds):
    assert parse_seeds([",".join(map(str, seeds))] if seeds else []) == seeds
