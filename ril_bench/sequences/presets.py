"""Presets: published settings by name, in tasks/presets/NAME.yaml.

A preset holds settings that a paper or its code used, and that replace settings of a sequence: tuner,
sampler, adapter, optimizer, budget, and the unit in which the tuner sees rewards. Settings that the preset
leaves out stay as in the sequence. The first line of the file states the source of the numbers. This module
does not import torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ril_bench import registry
from ril_bench.config.yaml_source import read_source
from ril_bench.errors import UserError

PARTS = ("sampler", "adapter", "optimizer", "budget")


def settings_of(name: str) -> dict[str, Any]:
    """The settings of a preset.

    For example {"tuner": {"name": "draft", "k": 1}, "optimizer.lr": 0.0004, ...}. Raises UserError for a name
    that no preset has, and for a file that holds other keys.
    """
    file = registry.locate("preset", name)
    assert isinstance(file, Path), "presets are files"
    data = read_source(file).data
    fits = isinstance(data, dict) and not set(data) - {"tuner", "unit", *PARTS}
    if not fits or not all(isinstance(data.get(part, {}), dict) for part in ("tuner", *PARTS)):
        raise UserError(
            "a preset may hold only a tuner and its settings",
            where=str(file),
            hint=f"use only the keys tuner, unit, {', '.join(PARTS)}, each but unit with keys of its own",
        )
    # The tuner is replaced with all its options; in the parts below only the stated keys change.
    whole = {key: data[key] for key in ("tuner", "unit") if key in data}
    return whole | {f"{part}.{key}": value for part in PARTS for key, value in data.get(part, {}).items()}
