"""What maintainers have verified about entries: a file beside entries/ that their checks write.

{entry: {"digests": sha256 of its digests.json, "level": "resampled", ...}}: it is valid for exactly those files. An
entry that is in it was accepted by a maintainer.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ril_bench
from ril_bench.errors import UserError
from ril_bench.running import provenance
from ril_bench.running.run_record import now
from ril_bench.storage import names
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.entry_note import LEVELS
from ril_bench.storage.files import read_json, to_json, write_files

if TYPE_CHECKING:
    from ril_bench.leaderboard.check import Verdict

CHECKED = "checked.json"


def refuse_unwritable(file: Path) -> None:
    """Raises UserError where a record cannot be written, before a check that takes long."""
    place = file if file.exists() else file.parent
    if not file.parent.is_dir():
        raise UserError(
            "there is no such folder", where=f"--record {file.parent}", hint="create it, or name another file"
        )
    if not os.access(place, os.W_OK):
        raise UserError(
            "this place cannot be written", where=f"--record {file}", hint="name a file that you may write"
        )


def note(file: Path, verdict: Verdict) -> None:
    """Writes the verdict on an entry into a file.

    The newest check of an entry counts: if it failed, earlier ones are void. A check changes nothing if it verified
    less than an earlier one of the same files, if the revision or the seeds are refused, or if the machine failed.
    """
    if verdict.entry is None or (verdict.valid and not verdict.stands):
        return
    if any(one.of_machine for one in verdict.faults):
        return
    known: dict[str, Any] = read_json(file) if file.exists() else {}
    earlier = known.pop(verdict.place, None)
    if verdict.valid:
        record = _record(verdict)
        same = earlier is not None and earlier["digests"] == record["digests"]
        known[verdict.place] = earlier if same and _rank(earlier) > _rank(record) else record
    write_files({file: to_json(dict(sorted(known.items()))).encode()})


def _record(verdict: Verdict) -> dict[str, Any]:
    assert verdict.entry is not None
    found: dict[str, Any] = {
        "digests": sha256_file(verdict.entry.file(names.DIGESTS)),
        "level": verdict.level,
        "checked": now(),
        "version": ril_bench.__version__,
    }
    if verdict.resampled or verdict.retrained:
        found |= {"checker_seed": verdict.checker_seed, "machine": provenance.processor()}
    for part in ("resampled", "retrained"):
        if value := getattr(verdict, part):
            found[part] = asdict(value)
    return found


def _rank(record: dict[str, Any]) -> tuple[int, int]:
    """How much a check verified: its level, and the number of images."""
    level = record.get("level", LEVELS[0])
    return LEVELS.index(level), record.get("resampled", {}).get("images", 0)


def noted(board: Path, entry: str, folder: Path) -> dict[str, Any] | None:
    """What was verified of an entry with its present files; None where no maintainer accepted these files."""
    file = board / CHECKED
    found = read_json(file).get(entry) if file.exists() else None
    return found if found and found["digests"] == sha256_file(folder / names.DIGESTS) else None
