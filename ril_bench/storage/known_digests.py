"""Digests of input files, computed again only after a file has changed.

A file counts as unchanged while its device, inode, size, and its times of modification and of change are the
same. The kernel sets the time of change, so a copy that keeps the time of modification is noticed. Digests of
large files are kept in the cache on the disk, so that a start does not read gigabytes of weights.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from ril_bench.errors import UserError
from ril_bench.storage import cache
from ril_bench.storage.digests import sha256_file

KIND, NAME = "digests", "sha256"
LARGE = 16_000_000  # bytes; a smaller file is read faster than the cache
RECENT = 3  # seconds: a file that was changed so recently may change again without another time

_known: dict[tuple[int, ...], str] = {}


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes. Follows links. Raises OSError where it cannot be read."""
    found = os.stat(path)
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if state in _known:
        return _known[state]
    settled = time.time() - max(found.st_mtime, found.st_ctime) > RECENT
    if not settled or found.st_size < LARGE:
        digest = sha256_file(path)
    else:
        digest = _kept(path, state)
    if settled:
        _known[state] = digest
    return digest


def _kept(path: Path, state: tuple[int, ...]) -> str:
    """The digest of a large file from the cache on the disk, if this user has one."""
    compute = lambda: {NAME: sha256_file(path).encode()}  # noqa: E731
    try:
        stored = cache.cached(KIND, {"state": list(state)}, compute)[NAME]
    except (UserError, KeyError, OSError):
        return sha256_file(path)
    return stored.decode()
