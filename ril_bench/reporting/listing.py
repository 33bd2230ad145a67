"""What there is, with a line on each; read off the sources, so that listing imports no torch and runs no code."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from ril_bench import registry


def described(kind: str) -> list[tuple[str, str]]:
    """(name, first line of what it says of itself) of everything of a kind."""
    return [(name, _summary(registry.locate(kind, name))) for name in registry.names(kind)]


def _summary(place: registry.Place) -> str:
    if isinstance(place, Path) and place.suffix == ".yaml":
        first = place.read_text(encoding="utf-8").partition("\n")[0]
        return first.removeprefix("# ") if first.startswith("# ") else ""
    if isinstance(place, Path) and place.suffix == ".py":
        tree = ast.parse(place.read_text(encoding="utf-8"))
        said = _first_line(ast.get_docstring(tree)).removeprefix(f"{place.stem}: ")
        return f"{said} † sees what RIL forbids" if _is_oracle(tree) else said
    if isinstance(place, str) and ":" in place:
        module, _, name = place.partition(":")
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            return ""
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
        return _first_line(ast.get_docstring(classes[0])) if classes else ""
    return "a folder in diffusers format" if isinstance(place, Path) else f"installed: {place}"


def _is_oracle(tree: ast.Module) -> bool:
    """Whether a method's class says `oracle = True`."""
    bodies = [node.body for node in tree.body if isinstance(node, ast.ClassDef)]
    return any(ast.unparse(line) == "oracle = True" for body in bodies for line in body)


def _first_line(doc: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((doc or "").split("\n\n")[0].split())
