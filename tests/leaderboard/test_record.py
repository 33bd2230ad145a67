"""The texts that an entry may hold: what a page shows of a stranger changes nothing around it."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from ril_bench.leaderboard.record import MARKS, MAX_LINE, Line, Text

LINE, TEXT = TypeAdapter(Line), TypeAdapter(Text)
A_MARK = "\u0301"
#: classes of Unicode's bidirectional algorithm: embeddings, overrides and isolates
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


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
    """Unicode's own database says which characters control others, and which turn the direction of a line."""
    if accepts(LINE, text):
        assert text.splitlines() == [text]
        assert any(unicodedata.category(letter)[0] not in "ZC" for letter in text)
        assert not any(unicodedata.category(letter) == "Cc" for letter in text)
        assert not TURNING & {unicodedata.bidirectional(letter) for letter in text}


@pytest.mark.parametrize("code", [0x00AD, 0x200B, 0x2060, 0xFEFF, 0x115F, 0x1160, 0x2800, 0x3164, 0xFFA0])
def test_a_line_of_characters_that_are_drawn_as_nothing_is_refused(code: int) -> None:
    assert not accepts(LINE, chr(code) * 3)


@pytest.mark.parametrize("code", [0x061C, 0x200E, 0x200F])
def test_a_mark_of_direction_is_refused(code: int) -> None:
    assert not accepts(LINE, f"a{chr(code)}b")
