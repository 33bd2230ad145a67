"""The files that a sequence needs, and whether they are on this machine.

This module downloads and loads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ril_bench.data.prompts import NAMED, SHIPPED, are_here, locate_prompts
from ril_bench.errors import UserError
from ril_bench.remote.file import RemoteFile
from ril_bench.remote.model import HubModel, loaded_files
from ril_bench.remote.network import HUB
from ril_bench.remote.published import LICENCES, used_by
from ril_bench.remote.weights import refuse_unusable
from ril_bench.sequences.model_folders import hub_model, local_folder
from ril_bench.sequences.spec import Sequence
from ril_bench.worlds.table import REAL


@dataclass(frozen=True)
class Need:
    """A file, a model or a data set that a run reads.

    Attributes:
        what: its name.
        used_by: the part of the run that reads it.
        source: the address where it is published, or its path.
        size: bytes; None if not known.
        licence: its licence; None if not known.
        pinned: whether only one content is accepted.
        here: whether it is on this machine.
        hint: what to do if it is not on this machine.
        local: the path of a single file in $RIL_BENCH_WEIGHTS.
        optional: whether a run works without it; some metrics are then missing.
    """

    what: str
    used_by: str
    source: str
    size: int | None
    licence: str | None
    pinned: bool
    here: bool
    hint: str | None = None
    local: str | None = None
    optional: bool = False

    @property
    def downloadable(self) -> bool:
        """Whether it is published on the web."""
        return self.source.startswith("https://")


def needs_of(sequence: Sequence) -> list[Need]:
    """The files of the model, then of rewards, prompts and feature networks; each once."""
    required = [_of_file(file, ", ".join(file.used_by)) for file in required_files(sequence)]
    optional = [_of_file(file, ", ".join(file.used_by), optional=True) for file in optional_files(sequence)]
    found = [
        *_of_model(sequence.model),
        *_of_shipped_rewards(sequence),
        *required,
        *_of_other_prompts(sequence),
        *optional,
    ]
    return list({(need.what, need.source): need for need in found}.values())


def missing_needs(needs: Iterable[Need]) -> list[Need]:
    """The required ones that are not on this machine: to download, or to put here by hand."""
    return [need for need in needs if not need.here and not need.optional]


def unusable_files(sequence: Sequence) -> Iterator[UserError]:
    """The faults of files that are on this machine, and that the model, rewards and prompts are read from."""
    rewards = {file for name in sequence.rewards for file in sequence.reward(name).weights}
    for file in dict.fromkeys([*required_files(sequence), *rewards]):
        try:
            refuse_unusable(file)
        except UserError as error:
            yield error
    folder, model = local_folder(sequence.model), hub_model(sequence.model)
    if folder is not None and model is not None:
        yield from model.faults_of(folder)


def required_files(sequence: Sequence) -> list[RemoteFile]:
    """The published files of prompts, rewards and probes, without the files of the model."""
    users = {sequence.prompts.eval, *(task.prompts.train for task in sequence.tasks)}
    if sequence.home is REAL:  # in another world, a reward of the same name ships with that world
        users.update(sequence.rewards.values())
    return used_by(*users)


def optional_files(sequence: Sequence) -> list[RemoteFile]:
    """The published files of the feature networks, which only some metrics need."""
    return used_by(*(network.user for network in sequence.home.networks))


def _of_model(reference: str) -> Iterable[Need]:
    folder, model = local_folder(reference), hub_model(reference)
    if model is None:
        there = folder is not None and (folder / "model_index.json").is_file()
        hint = None if there else "name a folder in which diffusers saved a pipeline"
        yield Need(reference, "model", str(folder), _size(folder), None, False, there, hint)
    elif files := model.pinned_files:
        yield from (_of_file(file, "model", here=folder is not None or None) for file in files)
    else:
        yield _of_unpinned_model(reference, model, folder)


def _of_unpinned_model(reference: str, model: HubModel, folder: Path | None) -> Need:
    fixed = bool(re.fullmatch("[0-9a-f]{40}", model.revision or ""))
    hint = None if folder else model.by_hand
    licence = LICENCES.get(model.repo)
    return Need(reference, "model", model.url, _size(folder), licence, fixed, folder is not None, hint)


def _of_shipped_rewards(sequence: Sequence) -> Iterable[Need]:
    """Weights of rewards that ship with RIL-Bench, or that a user's own reward names."""
    for name in sequence.rewards:
        for file in sequence.reward(name).weights:
            if not isinstance(file, RemoteFile):
                hint = None if file.exists() else "install ril-bench again"
                yield Need(file.name, name, str(file), _size(file), None, True, file.exists(), hint)


def _of_other_prompts(sequence: Sequence) -> Iterable[Need]:
    """Shipped prompt sets, the user's files, and data sets of the hub, without published files."""
    used = {task.prompts.train: "training" for task in sequence.tasks} | {sequence.prompts.eval: "evaluation"}
    for reference, part in used.items():
        if reference in NAMED and NAMED[reference] is None:
            continue
        path, name = locate_prompts(reference), f"prompts {reference}"
        if path is not None or reference in SHIPPED:
            yield Need(name, part, str(path or "ships with ril-bench"), None, None, True, True)
            continue
        on_hub = NAMED.get(reference) or reference
        here = are_here(reference)
        hint = None if here else "go online once, or name a file of prompts"
        source = f"{HUB}/datasets/{_repository(on_hub)}"
        yield Need(name, part, source, None, None, "@" in on_hub, here, hint)


def _repository(on_hub: str) -> str:
    return on_hub.partition("@")[0].partition(":")[0]


def _of_file(file: RemoteFile, part: str, *, here: bool | None = None, optional: bool = False) -> Need:
    """A published file. `here` is True if the caller already knows that it is on this machine."""
    here = here or file.cached_path() is not None
    hint = None if here else file.by_hand
    return Need(
        what=file.name,
        used_by=part,
        source=file.url,
        size=file.known_size,
        licence=file.licence,
        pinned=file.pinned,
        here=here,
        hint=hint,
        local=file.local_name,
        optional=optional,
    )


def _size(place: Path | None) -> int | None:
    """Bytes of a file, or of a folder's files that a pipeline loads; None if it is missing."""
    if place is None or not place.exists():
        return None
    try:
        files = loaded_files(place) if place.is_dir() else [place]
    except UserError:  # a broken index of shards, which the checks of the model's folder name
        return None
    files = files or [path for path in place.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)
