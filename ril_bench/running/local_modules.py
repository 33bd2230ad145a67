"""The files of code that a user's file consists of: the file, and the modules that it imports from its folder."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path


def code_files(path: Path) -> list[Path]:
    """A Python file and all modules and packages below its folder that it imports, directly or through others.

    Reads the files and runs none. Also counts `import_module("helper")`, and a text that ends in .py. A file that is
    not Python has no imports: running it gives the error.
    """
    folder = path.resolve().parent
    found: dict[Path, None] = {}
    left = [path.resolve()]
    while left:
        file = left.pop()
        if file not in found and file.is_file():
            found[file] = None
            left += _imported(file, folder)
    return sorted(found)


def _imported(file: Path, folder: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _module(folder, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else folder
            for alias in node.names:
                yield from _module(base, ".".join(filter(None, (node.module, alias.name))))
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            for text in _texts(node.args):
                yield from _module(folder, text)
        else:
            yield from (folder / text for text in _texts([node]) if text.endswith(".py"))


def _module(base: Path, name: str) -> Iterator[Path]:
    """The files that importing a dotted name below a folder would run. The last part may be an attribute."""
    place = base
    for part in name.split("."):
        yield place / f"{part}.py"
        place = place / part
        yield place / "__init__.py"


def _name(function: ast.expr) -> str:
    """The last part of a function's name: "import_module" of `importlib.import_module`."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _texts(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The texts among some nodes that could name a file."""
    for node in nodes:
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and len(text) < 200 and text.isprintable():
            yield text
