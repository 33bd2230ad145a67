"""What a sequence needs from elsewhere, and whether this machine has it. Nothing is downloaded or loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ril_bench.data.prompts import NAMED, SHIPPED, locate_prompts
from ril_bench.remote.file import FOLDER, RemoteFile
from ril_bench.remote.network import HUB
from ril_bench.remote.published import used_by
from ril_bench.sequences.model_folders import FILES, local_folder, pinned_files, repository
from ril_bench.sequences.spec import Sequence
from ril_bench.worlds.table import REAL


@dataclass(frozen=True)
class Need:
    """One thing that a run reads.

    size in bytes and licence are None where they are not known here; `pinned` tells whether no other file can pass for
    it; `hint` is what to do where it is not `here`; `local` is a single file's path in $RIL_BENCH_WEIGHTS.
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


def needs_of(sequence: Sequence) -> list[Need]:
    """The model's files, then those of rewards, measures and prompts, each once."""
    published = [
        _remote(file, ", ".join(file.used_by), file.cached_path() is not None)
        for file in published_files(sequence)
    ]
    found = [*_of_model(sequence.model), *_that_ship(sequence), *published, *_other_prompts(sequence)]
    return list({(need.what, need.source): need for need in found}.values())


def published_files(sequence: Sequence) -> list[RemoteFile]:
    """What the prompts, rewards, probes and measures of a sequence load, in the order of the table; its model's files
    are not among them."""
    users = {
        sequence.prompts.eval,
        *(task.prompts.train for task in sequence.tasks),
        *(network.user for network in sequence.home.networks),
    }
    if sequence.home is REAL:  # a reward of another world may have the same name, and ships with it
        users.update(sequence.rewards.values())
    return used_by(*users)


def _of_model(reference: str) -> Iterable[Need]:
    folder, repo = local_folder(reference), repository(reference)
    if repo is None:
        there = folder is not None and (folder / "model_index.json").is_file()
        hint = None if there else "give a folder that a pipeline of diffusers was saved in"
        yield Need(reference, "model", str(folder), _size(folder), None, False, there, hint)
        return
    pinned = pinned_files(reference)
    for file in pinned:
        yield _remote(file, "model", here=folder is not None or file.cached_path() is not None)
    if not pinned:
        revision = repo[1]
        fixed = bool(re.fullmatch("[0-9a-f]{40}", revision or ""))
        hint = (
            None
            if folder
            else f"go online, or put its folder into another as {repo[0]} and name that in ${FOLDER}"
        )
        source = f"{HUB}/{repo[0]}/tree/{revision or 'main'}"
        yield Need(reference, "model", source, _size(folder), None, fixed, folder is not None, hint)


def _that_ship(sequence: Sequence) -> Iterable[Need]:
    """The rewards' weights that come with RIL-Bench or from the user."""
    for name in sequence.rewards:
        for file in sequence.reward(name).weights:
            if not isinstance(file, RemoteFile):
                hint = None if file.exists() else "install ril-bench again"
                yield Need(file.name, name, str(file), _size(file), None, True, file.exists(), hint)


def _other_prompts(sequence: Sequence) -> Iterable[Need]:
    """Sets that ship, files, and data sets of the hub; published files are told elsewhere."""
    used = {task.prompts.train: "training" for task in sequence.tasks} | {sequence.prompts.eval: "evaluation"}
    for reference, what in used.items():
        if reference in NAMED and NAMED[reference] is None:
            continue
        path, name = locate_prompts(reference), f"prompts {reference}"
        if path is not None or reference in SHIPPED:
            yield Need(name, what, str(path or "ships with ril-bench"), None, None, True, True)
            continue
        on_hub = NAMED.get(reference) or reference
        here = _data_set_is_here(on_hub)
        hint = None if here else "go online once, or name a file of prompts"
        source = f"{HUB}/datasets/{_repository(on_hub)}"
        yield Need(name, what, source, None, None, "@" in on_hub, here, hint)


def _repository(on_hub: str) -> str:
    return on_hub.partition("@")[0].partition(":")[0]


def _data_set_is_here(reference: str) -> bool:
    from datasets.config import HF_DATASETS_CACHE

    return (Path(HF_DATASETS_CACHE) / _repository(reference).replace("/", "___")).is_dir()


def _remote(file: RemoteFile, used_by: str, here: bool) -> Need:
    hint = None if here else file.by_hand
    return Need(
        file.name, used_by, file.url, file.size, file.licence, file.pinned, here, hint, file.local_name
    )


def _size(place: Any) -> int | None:
    """Bytes of a file, or of what a pipeline is loaded from in a folder."""
    if place is None or not place.exists():
        return None
    files = {path for pattern in FILES for path in place.glob(pattern)} if place.is_dir() else {place}
    files = files or {path for path in place.rglob("*") if path.is_file()}
    return sum(path.stat().st_size for path in files)
