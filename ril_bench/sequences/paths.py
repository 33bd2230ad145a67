"""Paths that a sequence's or a grid's file holds: relative to that file, not to the shell. No torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ril_bench import registry
from ril_bench.data import image_sets, prompts

#: keys whose values may name a file without beginning with "./"; "name" means the key above it
_CODE = ("model", "reward", "probes", "tuner", "tuners", "methods", "sequences")
_PROMPTS = ("train", "eval")
_IMAGES = ("images",)


def absolute_paths(data: Any, folder: Path, key: str = "") -> tuple[Any, dict[str, str]]:
    """The data with every relative path made absolute, and {absolute path: as it is written}.

    A path is a text that begins with "./" or "../"; the name of a file where a model, a reward, a method, a tuner, a
    sequence or a prompt set is named; and a folder where an image set is named.

    Args:
        folder: of the file that holds the data.
        key: the last part of the data's own key.
    """
    written: dict[str, str] = {}

    def changed(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            # a setting in a grid's file has a dotted key
            return {
                name: changed(item, key if name == "name" else str(name).rpartition(".")[2])
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [changed(item, key) for item in value]
        if not (isinstance(value, str) and _is_relative_path(value, key)):
            return value
        path = os.path.normpath(folder.absolute() / value)
        written[path] = value
        return path

    return changed(data, key), written


def as_written(data: Any, written: dict[str, str]) -> Any:
    """The data with the paths of `absolute_paths` as they were written: the same wherever the file lies."""
    if isinstance(data, dict):
        return {name: as_written(item, written) for name, item in data.items()}
    if isinstance(data, list):
        return [as_written(item, written) for item in data]
    return written.get(data, data) if isinstance(data, str) else data


def _is_relative_path(value: str, key: str) -> bool:
    if value.startswith(("/", "~")):
        return False
    return (
        value.startswith(("./", "../"))
        or (key in _CODE and registry.is_path(value))
        or (key in _PROMPTS and prompts.is_file(value))
        or (key in _IMAGES and value not in image_sets.SHIPPED)
    )
