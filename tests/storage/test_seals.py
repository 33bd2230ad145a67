"""Sealed JSON and checked lines: no byte changes unseen."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.storage.seals import checked_line, sealed, unchecked_line, unsealed

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
objects = st.dictionaries(st.text().filter(lambda key: key not in ("sha256", "crc32")), values)


@given(objects)
def test_what_is_sealed_reads_back(value: dict[str, Any]) -> None:
    plain = json.loads(json.dumps(value))
    assert unsealed(sealed(value).encode()) == (plain, True)
    line = checked_line(value)
    assert line.endswith("\n")
    assert unchecked_line(line.encode()[:-1]) == (plain, True)
    assert json.loads(line).keys() == {*value, "crc32"}


@given(objects, st.data())
def test_no_changed_byte_passes_as_sealed(value: dict[str, Any], data: st.DataObject) -> None:
    for text, read in ((sealed(value), unsealed), (checked_line(value)[:-1], unchecked_line)):
        whole = bytearray(text.encode())
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        try:
            found, has_seal = read(bytes(whole))
        except ValueError:
            continue
        assert not has_seal  # only its name was hit; a reader that expects a seal refuses it
        assert found.keys() != value.keys()


def test_a_digit_that_makes_a_number_infinite_is_noticed() -> None:
    for text, read in ((sealed({"a": 1e16}), unsealed), (checked_line({"a": 1e16})[:-1], unchecked_line)):
        with pytest.raises(ValueError, match="was changed or is damaged"):
            read(text.replace("e+16", "e+916").encode())


def test_values_that_json_lacks() -> None:
    assert unsealed(sealed({"a": math.nan}).encode()) == ({"a": None}, True)
    assert unsealed(b'{"a": 1}') == ({"a": 1}, False)
    for other in (b"[]", b"{", b"\xff", b'{"a": 1, "sha256": ""}', b'{"a": 1, "sha256": 3}'):
        with pytest.raises(ValueError, match=r"."):
            unsealed(other)
