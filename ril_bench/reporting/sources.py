"""What a class states in its source: docstring, attributes, options. Read as text: no torch, and no code is run."""

from __future__ import annotations

import ast
import importlib.util
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ClassSource:
    """A class in a file, with the source of what it inherits from classes of other files."""

    file: Path
    name: str

    @classmethod
    def imported(cls, place: str) -> ClassSource | None:
        """The class of "module:Class"; None where the module has no source."""
        module, _, name = place.partition(":")
        spec = importlib.util.find_spec(module)
        return cls(Path(spec.origin), name) if spec is not None and spec.origin else None

    @classmethod
    def only(cls, file: Path) -> ClassSource | None:
        """The last class of a file at its top level; None where there is none."""
        names = [node.name for node in _tree(file).body if isinstance(node, ast.ClassDef)]
        return cls(file, names[-1]) if names else None

    @property
    def docstring(self) -> str:
        """The class's own docstring, without its indentation."""
        return (self.node and ast.get_docstring(self.node)) or ""

    @cached_property
    def node(self) -> ast.ClassDef | None:
        """The class's syntax tree; for a nested class the name is dotted."""
        body: list[ast.stmt] = _tree(self.file).body
        found = None
        for part in self.name.split("."):
            classes = [node for node in body if isinstance(node, ast.ClassDef) and node.name == part]
            if not classes:
                return None
            found, body = classes[-1], classes[-1].body
        return found

    def attribute(self, name: str) -> Any:
        """The value of a class attribute, its own or the nearest inherited one; None where no value is written out."""
        for node in self.node.body if self.node else ():
            targets = _assigned(node)
            if name in targets:
                value = targets[name]
                return None if value is None else _literal(value)
        return next((value for base in self._bases if (value := base.attribute(name)) is not None), None)

    def options(self) -> dict[str, dict[str, str]]:
        """{option: {"type", "default", "description"}}, inherited ones first; texts as they are written."""
        found: dict[str, dict[str, str]] = {}
        for base in reversed(self._bases):  # pydantic's order; the nearest class decides
            found |= base.options()
        own = ClassSource(self.file, f"{self.name}.Options").node
        body = own.body if own else []
        for node, after in zip_longest(body, body[1:]):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = {
                    "type": _type(node.annotation),
                    "default": "required" if node.value is None else ast.unparse(node.value),
                    "description": _meaning(after),
                }
        return found

    @cached_property
    def _bases(self) -> list[ClassSource]:
        """The classes that this one inherits from, as far as their source is found, nearest first."""
        if self.node is None:
            return []
        imported = {
            alias.asname or alias.name: f"{node.module}:{alias.name}"
            for node in _tree(self.file).body
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        found = []
        for base in self.node.bases:
            name = ast.unparse(base)
            local = ClassSource(self.file, name)
            if local.node is not None:
                found.append(local)
            elif (
                name in imported
                and imported[name].startswith("ril_bench.")
                and (other := ClassSource.imported(imported[name]))
            ):
                found.append(other)
        return found


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _assigned(node: ast.stmt) -> dict[str, ast.expr | None]:
    """The names that a statement assigns, each with its value."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id: node.value}
    found: dict[str, ast.expr | None] = {}
    if not isinstance(node, ast.Assign):
        return found
    for target in node.targets:
        if isinstance(target, ast.Name):
            found[target.id] = node.value
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = zip(target.elts, node.value.elts, strict=False)
            found |= {name.id: value for name, value in pairs if isinstance(name, ast.Name)}
    return found


def _literal(value: ast.expr) -> Any:
    """A value that is written out: a constant, or frozenset({...})."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "frozenset" and value.args:
        value = value.args[0]
    try:
        found = ast.literal_eval(value)
    except ValueError:
        return None
    return sorted(found) if isinstance(found, set) else found


def _type(annotation: ast.expr) -> str:
    """An annotation for people: Annotated[float, Field(ge=0)] is "float (ge=0)"."""

    def plain(match: re.Match[str]) -> str:
        bounds = [bound for bound in match[2].split(", ") if bound != "strict=True"]
        return f"{match[1]} ({', '.join(bounds)})" if bounds else match[1]

    return re.sub(r"Annotated\[(\w+), Field\(([^()]*)\)\]", plain, ast.unparse(annotation))


def _meaning(after: ast.stmt | None) -> str:
    """The docstring of an option: the text that stands below it."""
    if (
        isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    ):
        return " ".join(after.value.value.split())
    return ""
