"""Digests of weight files, to record them and to find shipped files that were altered."""

from __future__ import annotations

import json
from pathlib import Path

from ril_bench.errors import UserError
from ril_bench.remote.file import RemoteFile
from ril_bench.storage.digests import files_below
from ril_bench.storage.known_digests import file_digest

_POINTER = b"version https://git-lfs"
MANIFEST = "digests.json"  # {path relative to its folder: sha256}


def digests(place: Path | RemoteFile) -> dict[str, str]:
    """SHA-256 (hex) of a file, or of every file in a folder, by path. Follows links.

    Paths are relative to the parent of `place`. A published file must be on this machine; its path begins with its
    repository.
    """
    if isinstance(place, RemoteFile):
        return {f"{place.repo}/{place.file}": file_digest(place.fetch(offline=True))}
    files = [place] if place.is_file() else files_below(place)
    return {file.relative_to(place.parent).as_posix(): file_digest(file) for file in files}


def verified(path: Path) -> Path:
    """The path itself, after a comparison of each file with the nearest manifest above it.

    Without a manifest any file passes. Raises UserError for a missing file, and for a file with another digest, for
    example after a broken download or an edit.
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


def refuse_unusable(place: Path | RemoteFile) -> None:
    """Raises UserError for a file or folder that is missing, that has a pointer of Git LFS, or has another size.

    A published file may be missing: it can be downloaded.
    """
    path = place.cached_path() if isinstance(place, RemoteFile) else place
    if path is None:
        return
    if not path.exists():
        raise UserError(
            f"there is no file {path.name}",
            where=str(path),
            hint="copy it there, or correct `weights` of the reward",
        )
    for file in [path] if path.is_file() else files_below(path):
        refuse_pointer(file)
    if isinstance(place, RemoteFile):
        place.check_size(path)


def refuse_pointer(file: Path) -> None:
    """Raises UserError for a file that is only the pointer of Git LFS to the real file."""
    with file.open("rb") as opened:
        start = opened.read(len(_POINTER))
    if start == _POINTER:
        raise UserError(
            f"{file.name} is not the file itself, but a pointer of Git LFS to it",
            where=str(file),
            hint="type `git lfs pull` in the repository that it came from, or download the file",
        )
