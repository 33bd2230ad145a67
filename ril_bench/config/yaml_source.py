"""Reads YAML (and JSON) into plain values, with the line of each value.

Plain values follow YAML 1.2, not 1.1: `1e-4` is a number, `no` is text, 12:30 is not 750. A key that is given
twice is an error, and so is an alias (*name), an anchor, a tag (!!int), a number of more than 100 digits and
deep nesting: people read a sequence, and so does a checker that does not trust it.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ril_bench.config.characters import whole_characters
from ril_bench.errors import UserError

DEPTH = 64  # levels of nesting
LARGEST = 10**100  # of whole numbers: a float can hold it
LONGEST = 1_000_000  # characters of a text
Key = tuple[str | int, ...]  # ("tasks", 0, "reward"): list positions count from 0 here, from 1 when shown


def dotted(key: Key) -> str:
    """A key as the user writes it: tasks.1.reward. Tasks count from 1, as steps do."""
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in key)


@dataclass(frozen=True)
class Fault:
    """One fault: where it is (file:line), its key, and what is wrong."""

    where: str
    key: Key
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {dotted(self.key)}: {self.what}" if self.key else f"{self.where}: {self.what}"


@dataclass
class Source:
    """Plain values that were read from a file, the place of each value, and the faults found."""

    name: str
    data: Any
    places: dict[Key, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def place(self, key: Key) -> str:
        """The place where a key is written, or else the place of the nearest key above it."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, self.name)

    def add_fault(self, key: Key, what: str) -> None:
        self.faults.append(Fault(self.place(key), key, what))


class _Loader(yaml.SafeLoader):
    """Composes plain nodes alone: no anchor, no alias, no tag, and no deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _unsupported("aliases (*name) are not supported", event)
        if getattr(event, "anchor", None) is not None:
            raise _unsupported("anchors (&name) are not supported", event)
        if getattr(event, "tag", None) is not None:
            raise _unsupported("tags (!name) are not supported", event)
        if self.depth == DEPTH:
            raise _unsupported(f"nested deeper than {DEPTH} levels", event)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _unsupported(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def read_source(path: Path) -> Source:
    """Reads a YAML or JSON file.

    Raises:
        UserError: the file cannot be read, or is not YAML; the error names the line and the column.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path.name}: {error}", where=str(path), hint="name a file in UTF-8"
        ) from error
    return parse_source(text, str(path))


def parse_source(text: str, name: str) -> Source:
    """As `read_source`, for text; `name` is the name of the file in messages."""
    source = Source(name, None)
    if len(text) > LONGEST:
        raise UserError(
            f"not valid YAML here: {len(text):,} characters", where=name, hint=f"write at most {LONGEST:,}"
        )
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            source.data = _value(loader, node, (), source)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(f"not valid YAML: {problem}", where=where, hint="correct this line") from error
    except (
        RecursionError,
        ValueError,
    ) as error:  # nesting that is too deep; a number with thousands of digits
        raise UserError(f"not valid YAML: {error}", where=name, hint="correct the file") from error
    return source


def set_value(source: Source, name: str, value: Any, place: str) -> None:
    """Sets the value at a dotted key ("tasks.1.reward": tasks count from 1).

    A key that does not fit the data adds a fault to the source.

    Args:
        place: where the value was given, for this fault and later ones: "--set budget.updates".
    """
    value = copy.deepcopy(value)  # a later setting may change the inside of this value
    key: Key = ()
    holder = source.data
    parts = name.split(".")
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(holder, list):
            if not (part.isascii() and part.isdigit() and 1 <= int(part) <= len(holder)):
                source.faults.append(Fault(place, key, f"{part!r} is not one of 1 to {len(holder)}"))
                return
            key = (*key, int(part) - 1)
            if last:
                holder[int(part) - 1] = value
            holder = holder[int(part) - 1]
        elif isinstance(holder, dict):
            key = (*key, part)
            if part not in holder:
                source.places[key] = place
            if last:
                holder[part] = value
            holder = holder.setdefault(part, {})
        else:
            source.faults.append(Fault(place, key, "this value cannot hold keys"))
            return
    for old in [old for old in source.places if old[: len(key)] == key]:
        del source.places[old]
    source.places[key] = place


def _value(loader: _Loader, node: yaml.Node, key: Key, source: Source) -> Any:
    source.places[key] = f"{source.name}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.SequenceNode):
        items: Sequence[yaml.Node] = node.value
        return [_value(loader, item, (*key, i), source) for i, item in enumerate(items)]
    if isinstance(node, yaml.MappingNode):
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = f"{source.name}:{key_node.start_mark.line + 1}"
            if not isinstance(key_node, yaml.ScalarNode):
                source.faults.append(Fault(place, key, "a key must be a plain word"))
                continue
            name = whole_characters(key_node.value)
            if name in data:
                source.faults.append(Fault(place, (*key, name), "given twice"))
                continue
            data[name] = _value(loader, value_node, (*key, name), source)
            source.places[(*key, name)] = place  # the key's line: the value may begin on a later line
        return data
    value = loader.construct_object(node)
    if (isinstance(value, int) and abs(value) >= LARGEST) or (isinstance(value, float) and math.isinf(value)):
        raise yaml.MarkedYAMLError(problem="a number is too large", problem_mark=node.start_mark)
    return whole_characters(value) if isinstance(value, str) else value
