"""The cache, for a run in several processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ril_bench.machine.parallel import team
from ril_bench.storage.cache import Files, cached, read, write


def cached_by_team(kind: str, key: Mapping[str, Any], compute: Callable[[], Files]) -> Files:
    """The files stored for `key`; if there are none, all processes compute them together.

    Only the main process gets all files.
    """
    together = team()
    if together.size == 1:
        return cached(kind, key, compute)
    files = together.on_main(lambda: read(kind, key))
    if together.from_main(lambda: files is None):
        files = compute()
        together.on_main(lambda: write(kind, key, files))
    return files or {}
