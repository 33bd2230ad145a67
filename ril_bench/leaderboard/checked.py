"""What maintainers have verified about entries: a file beside entries/ that their checks write.

{entry: {"digests": sha256 of its digests.json, "images": 8, "of": 128, ...}}: it is valid for exactly those files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ril_bench.storage import names
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.files import read_json, to_json, write_files

if TYPE_CHECKING:
    from ril_bench.leaderboard.check import Verdict

CHECKED = "checked.json"


def note(file: Path, verdicts: Iterable[Verdict]) -> None:
    """Adds verified entries to a file. The newest check of an entry counts: if it failed, earlier ones are void."""
    known: dict[str, Any] = read_json(file) if file.exists() else {}
    for verdict in verdicts:
        if verdict.entry is None:
            continue
        known.pop(verdict.place, None)
        if verdict.valid:
            digest = sha256_file(verdict.entry.file(names.DIGESTS))
            known[verdict.place] = {
                "digests": digest,
                **(asdict(verdict.resampled) if verdict.resampled else {}),
            }
    write_files({file: to_json(dict(sorted(known.items()))).encode()})


def noted(board: Path, entry: str, folder: Path) -> dict[str, Any] | None:
    """What was verified of an entry with its present files; None where nothing was."""
    file = board / CHECKED
    found = read_json(file).get(entry) if file.exists() else None
    return found if found and found["digests"] == sha256_file(folder / names.DIGESTS) else None
