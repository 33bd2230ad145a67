"""Paths in the file of a sequence or a grid: they are relative to that file.

This module does not import torch.
"""

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
    """The data with absolute paths in place of relative ones, and {absolute path: as written}.

    A text is a path if it begins with "./" or "../"; if it is the name of a file, at a key for a model, a
    reward, a method, a tuner, a sequence or a prompt set; or if it is a folder, at a key for an image set.

    Args:
        folder: the folder of the file that holds the data.
        key: the last part of the key of the data.
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
    """The reverse of `absolute_paths`: data that does not depend on the folder of the file."""
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
