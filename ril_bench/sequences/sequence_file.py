"""The file of a sequence, tasks/NAME.yaml: parsed once, then resolved with any settings.

All faults are reported together, each with its file, line and key. This module does not import torch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ril_bench import registry
from ril_bench.config.settings import UNCHANGED, Settings
from ril_bench.config.validation import validated
from ril_bench.config.yaml_source import Key, Source, read_source, set_value
from ril_bench.data.prompts import locate_prompts
from ril_bench.errors import SequenceError, UserError, nearest
from ril_bench.sequences.paths import absolute_paths
from ril_bench.sequences.spec import INHERITED, Sequence
from ril_bench.worlds.table import WORLDS, world_of


@dataclass(frozen=True)
class SequenceFile:
    """The parsed content of a sequence's file, not yet checked.

    Attributes:
        reference: the name or path that the user gave.
        source: the values, each with its line; paths are absolute.
        written: {absolute path: as it is written in the file}.
    """

    reference: str
    path: Path
    source: Source
    written: Mapping[str, str]

    def resolve(self, settings: Settings = UNCHANGED, *, tuner: str | None = None) -> Sequence:
        """The sequence with changed settings. Does not read the file again.

        Paths in the file are relative to the file; paths in settings are relative to the current folder.

        Args:
            settings: {"budget.updates": 10}; tasks count from 1: {"tasks.1.reward": "symmetry"}.
            tuner: another tuner than the file's, with default options. If it is the file's tuner, its options
                stay.

        Raises:
            UserError: all faults, one on each line, as "file:line: key: what".
        """
        source = copy.deepcopy(self.source)
        if tuner is not None and tuner != _at(source.data, ("tuner", "name")):
            set_value(source, "tuner", {"name": tuner}, "--tuner")
        for key, value in settings.items():
            set_value(source, key, value, f"--set {key}")
        _check_names(source)
        try:
            sequence = validated(Sequence, source, INHERITED)
        except UserError as error:
            raise SequenceError(error.what, where=error.where, hint=error.hint) from error
        sequence._file, sequence._written = self.path, dict(self.written)
        return sequence


def read_sequence(name_or_path: str) -> SequenceFile:
    """Reads and parses the file of a sequence.

    Raises UserError where there is no such file, or where it is not YAML.
    """
    path = registry.locate("sequence", name_or_path)
    assert isinstance(path, Path), "sequences are files"
    source = read_source(path)
    source.data, written = absolute_paths(source.data, path.parent)
    return SequenceFile(name_or_path, path, source, written)


def load_sequence(name_or_path: str, settings: Settings = UNCHANGED) -> Sequence:
    """Reads a sequence and changes its settings; see `SequenceFile.resolve`, also for errors."""
    return read_sequence(name_or_path).resolve(settings)


# --- names --------------------------------------------------------------------------------------------------


def _check_names(source: Source) -> None:
    """Adds a fault for each unknown name, each repeated reward and a size that the world does not judge.

    The data may have any shape.
    """
    data = source.data
    _check_name(source, ("model",), partial(registry.locate, "model"))
    _check_name(source, ("world",), _locate_world)
    _check_name(source, ("prompts", "train"), locate_prompts)
    _check_name(source, ("prompts", "eval"), locate_prompts)
    _check_name(source, ("tuner", "name"), partial(registry.locate, "tuner"))
    tasks = data.get("tasks") if isinstance(data, dict) else None
    rewards: list[Key] = []
    for i in range(len(tasks) if isinstance(tasks, list) else 0):
        rewards.append(("tasks", i, "reward"))
        _check_name(source, ("tasks", i, "prompts", "train"), locate_prompts)
        _check_name(source, ("tasks", i, "tuner", "name"), partial(registry.locate, "tuner"))
    probes = _at(data, ("evaluation", "probes"))
    rewards += [("evaluation", "probes", i) for i in range(len(probes) if isinstance(probes, list) else 0)]
    world = WORLDS.get(str(_at(data, ("world",)))) or world_of(_at(data, ("model",)))
    size = _at(data, ("sampler", "size"))
    if world.side and size not in (None, world.side):
        source.add_fault(
            ("sampler", "size"), f"this world judges images of {world.side} pixels: leave the size out"
        )
    first: dict[str, Key] = {}
    for key in rewards:
        _check_name(source, key, partial(registry.locate, "reward", world=world))
        reference = _at(data, key)
        name = registry.short_name(reference) if isinstance(reference, str) else None
        if name is not None and first.setdefault(name, key) != key:
            source.add_fault(key, f"{name!r} is already the reward at {source.place(first[name])}")


def _locate_world(name: str) -> None:
    if name not in WORLDS:
        raise UserError(f"no world is called {name!r}", hint=nearest(name, WORLDS))


def _check_name(source: Source, key: Key, locate: Callable[[str], object]) -> None:
    name = _at(source.data, key)
    if not isinstance(name, str):
        return
    try:
        locate(name)
    except UserError as error:
        source.add_fault(key, "; ".join(filter(None, (error.what, error.hint))))


def _at(data: Any, key: Key) -> Any:
    """The value at a key, or None where there is none."""
    for part in key:
        inside = part in (
            data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
        )
        if not inside:
            return None
        data = data[part]
    return data
