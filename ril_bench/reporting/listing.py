"""What there is to choose from: a line on each name, or everything about one. No torch, and no code is run."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from ril_bench import registry
from ril_bench.config.settings import setting_text
from ril_bench.errors import UserError, nearest
from ril_bench.reporting.sources import ClassSource
from ril_bench.sequences.calibrations import calibration_file
from ril_bench.sequences.presets import settings_of
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.worlds.table import WORLDS


def described(kind: str) -> list[tuple[str, str]]:
    """(name, its summary in one line) of everything of a kind."""
    return [(name, _summary(registry.locate(kind, name))) for name in registry.names(kind)]


def details(name: str) -> list[dict[str, Any]]:
    """Everything about a name, as plain data: one entry for each kind, and for each world of a reward, that has it.

    Every entry has "kind", "name", "summary" and "source" (a file, or what is installed). Then: a method and a tuner
    have "description" and "options"; a tuner has "needs"; a reward has "description", "unit", "direction",
    "differentiable" and "world"; a sequence has "model", "tasks", "probes", "tuner", "budget", "evaluation",
    "calibration"; a preset has "settings".

    Raises UserError where nothing has this name.
    """
    found = [
        entry for kind in registry.KINDS if name in registry.names(kind) for entry in _entries(kind, name)
    ]
    if not found:
        known = {known for kind in registry.KINDS for known in registry.names(kind)}
        raise UserError(f"nothing is called {name!r}", where="ril-bench list", hint=nearest(name, known))
    return found


def _entries(kind: str, name: str) -> list[dict[str, Any]]:
    if kind != "reward":
        return [_entry(kind, name, registry.locate(kind, name))]
    places = {
        world.name: registry.locate(kind, name, world)
        for world in WORLDS.values()
        if name in registry.names(kind, world)
    }
    if len(set(map(str, places.values()))) == 1:
        return [_entry(kind, name, next(iter(places.values()))) | {"world": "every world"}]
    return [_entry(kind, name, place) | {"world": world} for world, place in places.items()]


def _entry(kind: str, name: str, place: registry.Place) -> dict[str, Any]:
    source = _class_of(place)
    entry: dict[str, Any] = {"kind": kind, "name": name, "summary": _summary(place)}
    entry["source"] = str(source.file if source else place)
    if kind == "sequence":
        return entry | _of_sequence(name)
    if kind == "preset":
        return entry | {"settings": [setting_text(key, value) for key, value in settings_of(name).items()]}
    if source is None:
        return entry
    entry["description"] = source.docstring
    if kind == "reward":
        return entry | {part: source.attribute(part) for part in ("unit", "direction", "differentiable")}
    if kind == "tuner":
        entry["needs"] = source.attribute("needs") or []
    return entry | {"options": source.options()}


def _of_sequence(name: str) -> dict[str, Any]:
    sequence = load_sequence(name)
    written = sequence.model_dump(mode="json")
    calibration = calibration_file(sequence)
    return {
        "version": sequence.version,
        "model": sequence.model,
        "tasks": sequence.order,
        "probes": sequence.probes,
        **{part: written[part] for part in ("prompts", "sampler", "tuner", "budget", "evaluation")},
        "calibration": str(calibration) if calibration.exists() else None,
    }


def _summary(place: registry.Place) -> str:
    if isinstance(place, Path) and place.suffix == ".yaml":
        first = place.read_text(encoding="utf-8").partition("\n")[0]
        return first.removeprefix("# ") if first.startswith("# ") else ""
    if isinstance(place, Path) and place.suffix == ".py":
        source = ClassSource.only(place)
        module_doc = ast.get_docstring(ast.parse(place.read_text(encoding="utf-8")))
        summary = _first_paragraph(module_doc).removeprefix(f"{place.stem}: ")
        oracle = source is not None and source.attribute("oracle")
        return f"{summary} † sees what RIL forbids" if oracle else summary
    if source := _class_of(place):
        return _first_paragraph(source.docstring)
    return "a folder in diffusers' format" if isinstance(place, Path) else f"installed: {place}"


def _class_of(place: registry.Place) -> ClassSource | None:
    """The class at a place, where it has a source to read."""
    if isinstance(place, Path):
        return ClassSource.only(place) if place.suffix == ".py" else None
    return ClassSource.imported(place) if isinstance(place, str) and ":" in place else None


def _first_paragraph(doc: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((doc or "").split("\n\n")[0].split())
