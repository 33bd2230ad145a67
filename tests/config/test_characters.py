"""Halves of surrogate pairs in text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.config.characters import encodable, whole_characters

SMILE = "\U0001f600"
HALVES = "\ud83d", "\ude00"


def test_two_halves_become_one_character():
    assert whole_characters("a" + "".join(HALVES)) == "a" + SMILE


@pytest.mark.parametrize("half", HALVES)
def test_one_half_is_refused_or_replaced(half):
    assert json.loads(json.dumps(half)) == half, "JSON can hold a half"
    with pytest.raises(ValueError, match="codec can't decode"):
        whole_characters(half)
    assert encodable(f"a{half}b") == "a?b"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_other_text_stays_as_it_is(text):
    assert whole_characters(text) == encodable(text) == text


@given(st.text(st.characters(categories=["Cs", "L"])))
def test_a_file_can_hold_what_is_encodable(text):
    encodable(text).encode()
