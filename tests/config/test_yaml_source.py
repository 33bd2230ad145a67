"""YAML is read into plain values without the traps of YAML 1.1."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ril_bench.config.yaml_source import _Loader, parse_source
from ril_bench.errors import UserError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("5E+2", 500.0),
        (".5", 0.5),
        ("-3", -3),
        ("012", "012"),
        ("12:30", "12:30"),
        ("no", "no"),
    ],
)
def test_yaml_without_its_traps(text: str, value: object) -> None:
    read = parse_source(f"a: {text}", "x").data["a"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: !!bool maybe", "tags"),
        ("a: !!int", "tags"),
        ("a: !!binary aGk=", "tags"),
        ("a: ! x", "tags"),
        ("!!map {}", "tags"),
        ("a: &name x", "anchors"),
        ("a: *name", "aliases"),
        ("a: " + "9" * 5000, "digits"),
        ("a: " + "9" * 400, "too large"),
        ("a: 1e999", "too large"),
        ("[" * 3000, "nested deeper than 64 levels"),
        ("- " * 3000, "nested deeper than 64 levels"),
        ("a: " + "x" * 2_000_000, "characters"),
    ],
)
def test_what_is_not_plain_is_refused(text: str, what: str) -> None:
    with pytest.raises(UserError, match=what) as caught:
        parse_source(text, "file")
    assert str(caught.value.where).startswith("file")
    assert caught.value.hint


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_json_reads_as_json(value: Any) -> None:
    assert parse_source(json.dumps(value, ensure_ascii=True), "x").data == value


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(UserError):
        assert parse_source(text, "x").name == "x"


class Dumper(yaml.SafeDumper):
    """Quotes only the text that `_Loader` would not read as text, as people do."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def represent_scalar(self, tag: str, value: Any, style: str | None = None) -> yaml.ScalarNode:
        # PyYAML writes U+0085 unescaped, and reads it as a line break. In double quotes it is escaped.
        return super().represent_scalar(tag, value, '"' if "\x85" in value else style)

    def ignore_aliases(self, data: Any) -> bool:
        return True


@pytest.mark.parametrize("flow", [True, False])
@settings(max_examples=50, deadline=None)
@given(data=st.dictionaries(st.text(min_size=1, max_size=5), VALUES, max_size=4))
@example(data={"\x85": "a\x85b"})
def test_what_is_written_as_yaml_reads_back(data: dict[str, Any], flow: bool) -> None:
    text = yaml.dump(data, Dumper=Dumper, default_flow_style=flow, allow_unicode=True)
    assert parse_source(text, "x").data == data
