"""Results that many runs share, kept outside of their folders under a key that holds all they depend on."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ril_bench.storage.run_folder import sha256_json, write_files

Files = dict[str, bytes]


def cache_folder() -> Path:
    """$RIL_BENCH_CACHE, else ril-bench in the user's cache folder."""
    if own := os.environ.get("RIL_BENCH_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ril-bench"


def read(kind: str, key: Mapping[str, Any]) -> Files | None:
    """The files of `key`, {relative name: bytes}, or None if they are not there."""
    folder = _folder(kind, key)
    if not folder.is_dir():
        return None
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write(kind: str, key: Mapping[str, Any], files: Files) -> None:
    """Keeps files for `key`, whole or not at all; the first ones that are kept stay.

    A cache that cannot be written is no fault: what it would hold is made again next time.
    """
    folder = _folder(kind, key)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        write_files({temporary / name: data for name, data in files.items()})
        os.replace(temporary, folder)
    except Exception:
        shutil.rmtree(temporary, ignore_errors=True)


def cached(kind: str, key: Mapping[str, Any], make: Callable[[], Files]) -> Files:
    """The files of `key`: read if they are there, else made and kept.

    Two processes that ask at once make them once: the second waits for the first. The kernel ends that wait,
    however the first one ends.
    """
    if (found := read(kind, key)) is not None:
        return found
    with _alone(_folder(kind, key)):
        if (found := read(kind, key)) is not None:
            return found
        files = make()
        write(kind, key, files)
        return files


def _folder(kind: str, key: Mapping[str, Any]) -> Path:
    return cache_folder() / kind / sha256_json(key)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process is at work on a folder; where nothing can be locked, nobody waits."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
