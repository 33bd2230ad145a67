"""Imports go one way: CONTRIBUTING's table of layers, held against the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ril_bench"
#: the public names, which import nothing before they are asked for, and the way in
DOORS = {"__init__", "__main__"}


def layers() -> list[set[str]]:
    """The table of CONTRIBUTING.md, the lowest first."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.split("never the reverse:\n\n")[1].split("\n\n")[0]
    rows = [re.split(r"\s{2,}", line.strip())[0] for line in block.splitlines()]
    return [set(re.split(r",\s*", row)) for row in reversed(rows)]


def imported(file: Path) -> Iterator[str]:
    """What of the package a file imports when it is imported itself, or when a function of it runs; types aside."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    hints = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and isinstance(test.test, ast.Name) and test.test.id == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if id(node) in hints or not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module == "ril_bench":
            yield from (alias.name for alias in node.names)
        elif node.module.startswith("ril_bench."):
            yield node.module.split(".")[1]


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_module_has_a_layer_and_imports_none_above_it():
    level = {name: k for k, names in enumerate(layers()) for name in names}
    rooms = {room(file) for file in PACKAGE.rglob("*.py")} - DOORS
    assert rooms == set(level)
    upward = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in PACKAGE.rglob("*.py")
        if room(file) not in DOORS
        for name in imported(file)
        if name in level and level[name] > level[room(file)]
    }
    assert not upward
