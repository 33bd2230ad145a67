"""Published settings by name (tasks/presets/NAME.yaml): what a paper or its code used, for any sequence. No torch.

A preset holds what it decides of a sequence (tuner, sampler, adapter, optimizer, budget); its first line says where the
numbers come from. What it leaves out stays the sequence's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ril_bench import registry
from ril_bench.config.yaml_source import read_source
from ril_bench.errors import UserError

PARTS = ("sampler", "adapter", "optimizer", "budget")


def settings_of(name: str) -> dict[str, Any]:
    """The settings that a preset stands for: {"tuner": {"name": "draft", "k": 1}, "optimizer.lr": 0.0004, ...}.

    Raises UserError for a name that no preset has, and for a file that holds anything else.
    """
    file = registry.locate("preset", name)
    assert isinstance(file, Path), "presets are files"
    data = read_source(file).data
    if not isinstance(data, dict) or set(data) - {"tuner", *PARTS}:
        raise UserError(
            "a preset holds a tuner and its settings",
            where=str(file),
            hint=f"keep to tuner, {', '.join(PARTS)}",
        )
    # The options of a tuner go with its name; every other part changes the keys that it names, and no others.
    tuner = {"tuner": data["tuner"]} if "tuner" in data else {}
    return tuner | {f"{part}.{key}": value for part in PARTS for key, value in data.get(part, {}).items()}
