"""What is known of an entry beyond its own word: a file beside entries/ that maintainers' checks write.

{entry: {"digests": sha256 of its digests.json, "images": 8, "of": 128, ...}}: it holds for exactly those files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ril_bench.leaderboard.check import Verdict
from ril_bench.storage import names
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.files import read_json, to_json, write_files

CHECKED = "checked.json"


def note(file: Path, verdicts: Iterable[Verdict]) -> None:
    """Adds what was made again to a file: an entry's newest check stands, and one that failed takes its word back."""
    known: dict[str, Any] = read_json(file) if file.exists() else {}
    for verdict in verdicts:
        if verdict.entry is None:
            continue
        known.pop(verdict.place, None)
        if verdict.stands and verdict.resampled:
            digest = sha256_file(verdict.entry.file(names.DIGESTS))
            known[verdict.place] = {"digests": digest, **asdict(verdict.resampled)}
    write_files({file: to_json(dict(sorted(known.items()))).encode()})


def noted(board: Path, entry: str, folder: Path) -> dict[str, Any] | None:
    """What was made again of an entry as it is now; None where nothing was."""
    file = board / CHECKED
    found = read_json(file).get(entry) if file.exists() else None
    return found if found and found["digests"] == sha256_file(folder / names.DIGESTS) else None
