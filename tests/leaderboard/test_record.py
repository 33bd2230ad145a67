"""The texts that an entry may hold: what a page shows of a stranger changes nothing around it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from ril_bench.leaderboard.record import MARKS, MAX_LINE, Line, Text

LINE, TEXT = TypeAdapter(Line), TypeAdapter(Text)
A_MARK = "\u0301"


def accepts(kind: TypeAdapter[Any], text: str) -> bool:
    try:
        return bool(kind.validate_python(text) == text)
    except ValidationError:
        return False


@pytest.mark.parametrize(
    "text",
    ["Ada Lovelace", "Đặng Thị Ngọc", "נִקּוּד", "山田 太郎", "👩‍👩‍👧‍👦", "e" + MARKS * A_MARK, "<b>=1+1"],
)
def test_lines_of_every_script_are_accepted(text: str) -> None:
    assert accepts(LINE, text)


REFUSED = {
    "empty": "", "a space": " ", "another space": "\u2003", "two lines": "two\nlines", "a tab": "a\ttab",
    "turned": "turned \u202e", "isolated": "\u2066isolated", "escape": "\x1b[31m", "zero": "\x00", "next line": "\x85",
    "separator": "\u2028", "marks": "e" + (MARKS + 1) * A_MARK,
    "enclosing": "\u20e0" * (MARKS + 1), "long": "x" * (MAX_LINE + 1),
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_a_line_that_would_change_what_is_around_it_is_refused(text: str) -> None:
    assert not accepts(LINE, text)


def test_a_text_may_have_lines() -> None:
    assert accepts(TEXT, "")
    assert accepts(TEXT, "two\n\tlines")


@given(st.text(max_size=40))
def test_whatever_is_accepted_is_printed_as_it_is(text: str) -> None:
    """Unicode's own database says which characters control others."""
    if accepts(LINE, text):
        assert text.splitlines() == [text]
        assert text.strip()
        assert not any(letter < " " for letter in text)
