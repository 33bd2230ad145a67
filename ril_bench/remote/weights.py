"""Digests of weight files: which files a result depends on, and whether a shipped file was altered."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from ril_bench.errors import UserError
from ril_bench.remote.file import RemoteFile, digest
from ril_bench.storage.digests import sha256_file

MANIFEST = "digests.json"  # {path relative to its folder: sha256}


@cache
def digests(place: Path | RemoteFile) -> dict[str, str]:
    """SHA-256 (hex) of a file, of every file below a folder, by its path relative to the parent, or of a
    published file that is on this machine, by its repository and path.
    """
    if isinstance(place, RemoteFile):
        return {f"{place.repo}/{place.file}": digest(place.fetch(offline=True))}
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
    return {file.relative_to(place.parent).as_posix(): sha256_file(file) for file in files}


def verified(path: Path) -> Path:
    """The path itself, after each file was compared with the nearest manifest above it; without one, any file passes.

    Raises UserError for a missing file or one of another digest, as a broken download or an edit leaves it.
    """
    manifest = next((p / MANIFEST for p in path.parents if (p / MANIFEST).is_file()), None)
    if not path.exists():
        raise UserError("weights are missing", where=str(path), hint="install ril-bench again")
    if manifest is not None:
        stated = json.loads(manifest.read_text())
        inside = path.parent.relative_to(manifest.parent)
        for name, digest in digests(path).items():
            if digest != stated.get((inside / name).as_posix(), digest):
                raise UserError(
                    f"this weight file has the wrong digest: {digest[:12]}..., not "
                    f"{stated[(inside / name).as_posix()][:12]}...",
                    where=str(path.parent / name),
                    hint="it was altered or is damaged: install ril-bench again",
                )
    return path
