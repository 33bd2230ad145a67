"""Entries made of runs. What is written here stands before `check`: it is checked before it is put in its place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from ril_bench.errors import UserError
from ril_bench.leaderboard.check import check
from ril_bench.leaderboard.layout import ADAPTER_BYTES, ENTRIES, OPTIONAL, Address, address
from ril_bench.leaderboard.record import read_card
from ril_bench.leaderboard.sheet import contact_sheet
from ril_bench.reporting.find import find_runs
from ril_bench.storage import names
from ril_bench.storage.files import to_json, write_files
from ril_bench.storage.read import StoredRun, read_run

COPIED = (names.RUN, names.SCORES, names.MATRIX, names.METRICS)


def submit(places: Iterable[Path], *, card: Path, board: Path, every_step: bool = False) -> list[Path]:
    """Makes an entry of each run at or below the places; returns their folders, which the leaderboard now has.

    Args:
        card: the method.yaml of the runs' method.
        board: the leaderboard's folder, which holds entries/ or will.
        every_step: hand in the adapter of every step, not of the last alone: all rows can then be made again.

    Raises UserError for whatever `check` would refuse, and where an entry is there already; then nothing is written.
    """
    read_card(card)
    runs = {_address(run): run for run in map(read_run, find_runs(places))}
    revisions = {(one.group.method, one.group.revision) for one in runs}
    if len(revisions) > 1:
        named = ", ".join("/".join(one) for one in sorted(revisions))
        raise UserError(
            f"one method.yaml speaks for one method in one revision; here are {named}",
            hint="submit one method's runs at a time, all made with one state of its file",
        )
    files = {
        address.path / name: data for address, run in runs.items() for name, data in _files(run, every_step)
    }
    files[Path(*revisions.pop(), names.METHOD_CARD)] = card.read_bytes()
    _refuse_changes(board / ENTRIES, files, runs)
    with TemporaryDirectory() as trial:
        write_files({Path(trial, ENTRIES, name): data for name, data in files.items()})
        _refuse_faults(Path(trial))
    write_files({board / ENTRIES / name: data for name, data in files.items()})
    return [board / ENTRIES / one.path for one in sorted(runs)]


def _address(run: StoredRun) -> Address:
    if run.info.get("status") != "complete" or not run.info.get("official"):
        raise UserError(
            f"this run is {run.info.get('status')}"
            if run.info.get("status") != "complete"
            else "unofficial settings",
            where=str(run.folder),
            hint="submit complete runs of sequences as they ship: ril-bench run SEQUENCE --method ...",
        )
    return address(run.info)


def _files(run: StoredRun, every_step: bool) -> Iterator[tuple[str, bytes]]:
    """The files of a run's entry."""
    last = len(run.rewards)
    handed_in = [*COPIED, *(name for name in OPTIONAL if (run.folder / name).exists())]
    handed_in += [names.adapter(i) for i in range(1 if every_step else last, last + 1)]
    small = {
        name: (run.folder / name).read_bytes()
        for name in handed_in
        if not name.endswith(".safetensors") or (run.folder / name).stat().st_size <= ADAPTER_BYTES
    }
    small[names.CONTACT_SHEET] = contact_sheet(run)
    yield from small.items()
    yield (
        names.DIGESTS,
        to_json({name: hashlib.sha256(data).hexdigest() for name, data in small.items()}).encode(),
    )


def _refuse_changes(root: Path, files: dict[Path, bytes], runs: Iterable[Address]) -> None:
    for one in runs:
        if (root / one.path).exists():
            raise UserError(
                "this entry is there already",
                where=str(root / one.path),
                hint="entries are only ever added: a changed method has another revision",
            )
    for name, data in files.items():
        if (root / name).exists() and (root / name).read_bytes() != data:
            raise UserError(
                f"another {name.name} is there already",
                where=str(root / name),
                hint="give the one that is there: entries are only ever added",
            )


def _refuse_faults(trial: Path) -> None:
    found = [finding.fault for verdict in check(trial) for finding in verdict.findings]
    if not found:
        return
    root = f"{trial / ENTRIES}/"
    listed = "\n".join(str(fault).replace(root, "") for fault in found)
    raise UserError(f"this would be refused: {len(found)} fault{'s' if len(found) > 1 else ''}\n{listed}")
