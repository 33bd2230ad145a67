"""Results that many runs share (step 0), kept outside of their folders under a key that holds all they depend on."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ril_bench.store import sha256_json, write_files

Files = dict[str, bytes]


def cache_folder() -> Path:
    """$RIL_BENCH_CACHE, else ril-bench in the user's cache folder."""
    if own := os.environ.get("RIL_BENCH_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ril-bench"


def cached(kind: str, key: Mapping[str, Any], make: Callable[[], Files]) -> Files:
    """The files of `key`, {relative name: bytes}: read if they are there, else made and kept.

    Two processes that make them at once do no harm: each writes a folder of its own, and the first one to be
    renamed stays. A cache that cannot be written is no fault: the files are made, and made again next time.
    """
    folder = cache_folder() / kind / sha256_json(key)
    if not folder.is_dir():
        files = make()
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        try:
            write_files({temporary / name: data for name, data in files.items()})
            os.replace(temporary, folder)
        except Exception:
            shutil.rmtree(temporary, ignore_errors=True)
        return files
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
