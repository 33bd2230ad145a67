"""The files of code that a user's file consists of: the file, and the modules that it imports from its folder."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ril_bench.storage.known_digests import file_digest

_run: dict[str, str] = {}  # file of a module -> its digest when it could last be imported


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


def forget_changed_modules(path: Path) -> None:
    """Makes a Python file import the modules of its folder as they are on the disk.

    Python imports a module once in a process. So where one of them has changed, all are imported again.
    """
    digests = {str(file): file_digest(file) for file in code_files(path)}
    names = {Path(file).name for file in digests}
    loaded: dict[str, str] = {}
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None)
        if place and os.path.basename(place) in names and os.path.realpath(place) in digests:
            loaded[name] = os.path.realpath(place)
    if any(_run.get(place) != digests[place] for place in loaded.values()):
        for name in loaded:
            del sys.modules[name]
    _run.update(digests)


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
