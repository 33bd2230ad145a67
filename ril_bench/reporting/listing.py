"""What there is to choose from: a line on each name, or everything about one. No torch, and no code is run."""

from __future__ import annotations

import ast
from itertools import takewhile
from pathlib import Path
from typing import Any

from ril_bench import registry
from ril_bench.reporting.sources import ClassSource
from ril_bench.worlds.table import WORLDS


def described(kind: str) -> list[tuple[str, str]]:
    """(name, its summary in one line) of everything of a kind."""
    return [(name, _summary(registry.locate(kind, name))) for name in registry.names(kind)]


def details(kind: str, name: str) -> dict[str, Any]:
    """What `ril-bench list NAME` shows, as plain data.

    Each has "description" and "file" (a model: "folder"). A method and a tuner have "options": {name: {"type",
    "default", "description"}}; a preset has "settings"; all other keys are facts to choose by, such as "needs", "unit"
    or "tasks".

    Raises UserError for an unknown name.
    """
    place = registry.locate(kind, name)
    if kind == "sequence":
        return {"description": _comment(place), "file": str(place), **_of_sequence(name)}
    if kind == "preset":
        return {"description": _comment(place), "file": str(place), "settings": _settings(name)}
    if kind == "model":
        return {"description": "a folder in diffusers' format", "folder": str(place)}
    source = _class_of(place)
    if source is None:
        return {"description": f"installed: {place}", "file": ""}
    found: dict[str, Any] = {"description": source.docstring, "file": str(source.file)}
    if kind == "reward":
        found |= {fact: source.attribute(fact) for fact in ("unit", "direction", "differentiable")}
        return found | {
            "worlds": [world.name for world in WORLDS.values() if name in registry.names(kind, world)]
        }
    if kind == "method":
        found["oracle"] = bool(source.attribute("oracle"))
    else:
        found["needs"] = source.attribute("needs") or []
    return found | {"options": source.options()}


# The names alone need no sequence; reading one imports pydantic, which takes longer than all the rest.


def _settings(preset: str) -> dict[str, Any]:
    from ril_bench.sequences.presets import settings_of

    return dict(settings_of(preset))


def _of_sequence(name: str) -> dict[str, Any]:
    from ril_bench.sequences.calibrations import load_calibration
    from ril_bench.sequences.sequence_file import load_sequence

    sequence = load_sequence(name)
    return {
        "tasks": sequence.order,
        "model": sequence.model,
        "tuner": sequence.tuner.name,
        "probes": sequence.probes,
        "updates of each task": [task.budget.updates for task in sequence.tasks],
        "evaluation images": sequence.evaluation.prompts * sequence.evaluation.images_per_prompt,
        "calibrated": load_calibration(sequence) is not None,
    }


def _comment(place: object) -> str:
    """The comment at the head of a YAML file, on one line."""
    lines = place.read_text(encoding="utf-8").splitlines() if isinstance(place, Path) else []
    return " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))


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
