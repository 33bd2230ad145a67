"""All that is known of one sequence, preset, method, tuner, reward or model, as plain data."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from ril_bench import registry

#: Attributes of a class that a user chooses by.
_FACTS = {
    "method": ("oracle",),
    "tuner": ("needs",),
    "reward": ("unit", "direction", "differentiable"),
}


def details(kind: str, name: str) -> dict[str, Any]:
    """What `ril-bench list NAME` shows: the description, the facts and the options, each with its default.

    Imports the code of a method, tuner or reward. Raises UserError for an unknown name, or code that does not import.
    """
    place = registry.locate(kind, name)
    if kind == "sequence":
        from ril_bench.sequences.calibrations import load_calibration
        from ril_bench.sequences.sequence_file import load_sequence

        spec = load_sequence(name)
        facts = {
            "tasks": spec.order,
            "model": spec.model,
            "tuner": spec.tuner.name,
            "probes": spec.probes,
            "updates of each task": [spec.task(i).budget.updates for i in range(1, len(spec.tasks) + 1)],
            "evaluation images": spec.evaluation.prompts * spec.evaluation.images_per_prompt,
            "calibrated": load_calibration(spec) is not None,
        }
        return {"description": _comment(place), "file": str(place), **facts}
    if kind == "preset":
        from ril_bench.sequences.presets import settings_of

        return {"description": _comment(place), "file": str(place), "settings": dict(settings_of(name))}
    if kind == "model":
        return {"description": "a folder in diffusers format", "folder": str(place)}
    cls = registry.load(kind, name)
    facts = {fact: _plain(getattr(cls, fact)) for fact in _FACTS[kind] if hasattr(cls, fact)}
    return {
        "description": inspect.getdoc(cls) or "",
        "file": inspect.getsourcefile(cls) or "",
        **facts,
        "options": {} if kind == "reward" else _options(cls),
    }


def _options(cls: Any) -> dict[str, dict[str, Any]]:
    """{option: its default and its description}."""
    return {
        name: {
            "default": None if field.is_required() else _plain(field.get_default(call_default_factory=True)),
            "description": " ".join((field.description or "").split()),
        }
        for name, field in cls.Options.model_fields.items()
    }


def _comment(place: object) -> str:
    """The comment at the head of a YAML file."""
    lines = place.read_text(encoding="utf-8").splitlines() if isinstance(place, Path) else []
    head = []
    for line in lines:
        if not line.startswith("#"):
            break
        head.append(line.removeprefix("#").strip())
    return " ".join(head)


def _plain(value: Any) -> Any:
    """A value as JSON holds it."""
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value))
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
