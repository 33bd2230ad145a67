"""Writes entries from runs. An entry is checked before it is put in its place; a rehearsal only checks."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from ril_bench.errors import UserError
from ril_bench.leaderboard.adapter_files import halved
from ril_bench.leaderboard.check import check
from ril_bench.leaderboard.checked import CHECKED
from ril_bench.leaderboard.layout import ADAPTER_BYTES, ENTRIES, OPTIONAL, Address, address
from ril_bench.leaderboard.method_names import shipped_digest
from ril_bench.leaderboard.record import read_card
from ril_bench.leaderboard.sheet import contact_sheet
from ril_bench.reporting.find import find_runs
from ril_bench.storage import names
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.files import expanded, to_json, write_files
from ril_bench.storage.integrity import FILES, WRITING
from ril_bench.storage.read import StoredRun, read_whole_run

COPIED = (names.SCORES, names.MATRIX)


def submit(places: Iterable[Path], *, card: Path, board: Path, method_file: Path | None = None) -> list[Path]:
    """Writes an entry of each run at or below the places; returns their folders in the leaderboard.

    Args:
        card: the method.yaml of the runs' method.
        board: the leaderboard's folder; entries/ is created in it.
        method_file: the method's own file; None is where the runs found it.

    Raises UserError for whatever `check` would refuse, beside the entries that are there already, and where an entry
    exists; then nothing is written. Whether another method has the same adapters is left to `check`.
    """
    read_card(card)
    runs = {_address(run): run for run in map(read_whole_run, find_runs(places))}
    files = _entries(runs)
    revision = Path(*_one_revision(runs))
    files[revision / names.METHOD_CARD] = card.read_bytes()
    files |= _method_file(revision, next(iter(runs.values())), method_file)
    _refuse_changes(board / ENTRIES, files, runs)
    if faults := _faults(files, board / ENTRIES):
        text = "\n".join(map(str, faults))
        raise UserError(f"this would be refused: {len(faults)} fault{'s' if len(faults) > 1 else ''}\n{text}")
    write_files({board / ENTRIES / name: data for name, data in files.items()})
    return [board / ENTRIES / one.path for one in sorted(runs)]


def rehearse(
    places: Iterable[Path], *, card: Path | None = None, method_file: Path | None = None
) -> list[UserError]:
    """What `submit` and `check` would refuse, all of it at once; nothing is written.

    Takes any run, also an unofficial one, one of a sequence without a leaderboard, or one that is not complete. Without
    a card, its absence is one of the faults. Raises UserError where there is no run.
    """
    found = list(map(read_whole_run, find_runs(places)))
    unfinished = [run for run in found if run.status != "complete"]
    faults = [_not_complete(run) for run in unfinished]
    runs = {address(run.info): run for run in found if run not in unfinished}
    try:
        if runs:
            revision = Path(*_one_revision(runs))
            files = _entries(runs)
            if card is not None and card.is_file():
                files[revision / names.METHOD_CARD] = card.read_bytes()
            files |= _method_file(revision, next(iter(runs.values())), method_file)
            for fault in _faults(files):
                if card is not None:  # the user's file, not the place that it would get
                    place = (revision / names.METHOD_CARD).as_posix()
                    fault.what = fault.what.replace(place, str(card))
                    fault.where = (fault.where or "").replace(place, str(card)) or None
                faults.append(fault)
    except UserError as error:
        faults.append(error)
    return list({str(fault): fault for fault in faults}.values())


def _one_revision(runs: Iterable[Address]) -> tuple[str, str]:
    """(method, revision) of the runs. Raises UserError where there are several."""
    revisions = {(one.group.method, one.group.revision) for one in runs}
    if len(revisions) > 1:
        listed = ", ".join("/".join(one) for one in sorted(revisions))
        raise UserError(
            f"one method.yaml describes one method in one revision; these runs have {listed}",
            hint="submit the runs of one method at a time, all computed with the same state of its file",
        )
    return revisions.pop()


def _address(run: StoredRun) -> Address:
    if run.status != "complete":
        raise _not_complete(run)
    if not run.info.get("official"):
        raise UserError(
            "unofficial settings",
            where=str(run.folder),
            hint="submit runs of sequences as they ship: ril-bench run SEQUENCE --method ...",
        )
    return address(run.info)


def _not_complete(run: StoredRun) -> UserError:
    return UserError(
        f"this run is {run.status}, not complete",
        where=str(run.folder),
        hint="run the same command again: it continues where the run stopped",
    )


def _method_file(revision: Path, run: StoredRun, file: Path | None) -> dict[Path, bytes]:
    """The method's own file as the entries keep it; nothing for a method that ships or that a package offers.

    Args:
        file: None is where the run found it.

    Raises UserError where that file is gone, or has changed since.
    """
    method = run.info["method"]
    if method["file_sha256"] in (None, shipped_digest(method["name"])):
        return {}
    found = file or expanded(run.info.get("method_reference") or "")
    if not found.is_file() or sha256_file(found) != method["file_sha256"]:
        raise UserError(
            f"this is not the file of {method['name']} that the runs used",
            where=str(found),
            hint="name a copy of that file with --method-file, or run again with the file as it is now",
        )
    return {revision / names.METHOD_FILE: found.read_bytes()}


def _entries(runs: Mapping[Address, StoredRun]) -> dict[Path, bytes]:
    """The files of all entries, by their paths below entries/."""
    return {at.path / name: data for at, run in runs.items() for name, data in _files(run)}


def _files(run: StoredRun) -> Iterator[tuple[str, bytes]]:
    """The files of a run's entry, with the adapter of every step."""
    copied = [*COPIED, *(name for name in OPTIONAL if (run.folder / name).exists())]
    small = {name: (run.folder / name).read_bytes() for name in copied}
    adapters = {
        name: halved((run.folder / name).read_bytes())
        for name in map(names.adapter, range(1, len(run.rewards) + 1))
    }
    small |= {name: data for name, data in adapters.items() if len(data) <= ADAPTER_BYTES}
    # The entry's digests.json replaces the digests that the files of a run carry.
    own = {key: value for key, value in run.info.items() if key not in (FILES, WRITING)}
    small |= {names.RUN: to_json(own).encode(), names.METRICS: to_json(run.metrics).encode()}
    small[names.CONTACT_SHEET] = contact_sheet(run)
    yield from small.items()
    yield (
        names.DIGESTS,
        to_json({name: hashlib.sha256(data).hexdigest() for name, data in small.items()}).encode(),
    )


def lacks_adapters(entry: Path) -> bool:
    """Whether adapters of a new entry were too large to be submitted, so that it can only ever be stated."""
    steps = json.loads((entry / names.RUN).read_bytes())["steps"]
    return any(not (entry / names.adapter(step)).is_file() for step in range(1, len(steps)))


def _refuse_changes(root: Path, files: dict[Path, bytes], runs: Iterable[Address]) -> None:
    for one in runs:
        if (root / one.path).exists():
            raise UserError(
                "this entry exists already",
                where=str(root / one.path),
                hint="entries are only added, never changed; a changed method has another revision",
            )
    for name, data in files.items():
        if (root / name).exists() and (root / name).read_bytes() != data:
            raise UserError(
                f"another {name.name} exists already",
                where=str(root / name),
                hint="submit with the existing file: entries are only added, never changed",
            )


def _faults(files: Mapping[Path, bytes], beside: Path | None = None) -> list[UserError]:
    """What `check` finds in these files, written into a temporary folder; places are relative to entries/.

    Args:
        beside: the entries/ to which they would be added: the earlier entries of the same revision are copied, and of
            the other methods their names.
    """
    with TemporaryDirectory() as trial:
        if beside is not None and beside.is_dir():
            if (record := beside.parent / CHECKED).is_file():  # accepted entries keep names that others lose
                shutil.copyfile(record, Path(trial, CHECKED))
            for method in beside.iterdir():
                Path(trial, ENTRIES, method.name).mkdir(parents=True)
            for revision in {Path(*name.parts[:2]) for name in files}:
                if (beside / revision).is_dir():
                    shutil.copytree(beside / revision, Path(trial, ENTRIES, revision), symlinks=True)
        write_files({Path(trial, ENTRIES, name): data for name, data in files.items()})
        faults = [found.fault for verdict in check(Path(trial)) for found in verdict.faults]
        for root in (f"{Path(trial).resolve() / ENTRIES}", f"{Path(trial) / ENTRIES}"):
            for fault in faults:
                fault.what = fault.what.replace(f"{root}/", "")
                fault.where = (fault.where or "").replace(root, "").lstrip("/") or None
        return faults
