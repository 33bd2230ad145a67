"""A disk that fills, or is read-only, while a run writes: one message, nothing lost, and the same command goes on."""

from __future__ import annotations

import errno
import math
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ril_bench.errors import InfrastructureError, RilError, UserError
from ril_bench.storage import files as storage_files
from tests.running.stopping import status
from tests.tiny import results, runner

#: numbers of writes after which the disk is full; `RIL_BENCH_MOMENTS=20` tries more
MOMENTS = int(os.environ.get("RIL_BENCH_MOMENTS", "4"))


class Disk:
    """Fails from a write on, until it is repaired."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int):
        self.writes, self.room, self.number, replace = 0, math.inf, number, storage_files._replace

        def write(path: Path, data: bytes) -> None:
            self.writes += 1
            if self.writes > self.room:
                raise OSError(self.number, os.strerror(self.number))
            replace(path, data)

        monkeypatch.setattr(storage_files, "_replace", write)

    def fills_after(self, writes: float) -> None:
        self.writes, self.room = 0, writes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, InfrastructureError), (errno.EROFS, UserError)],
    ids=["full", "read-only"],
)
def test_a_disk_that_fails_loses_nothing(
    finished: Path,
    tiny_sequence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[RilError],
) -> None:
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "whole/cache"))
    disk = Disk(monkeypatch, number)
    runner(tiny_sequence, tmp_path / "whole").execute()
    writes = disk.writes
    for k in range(MOMENTS):
        out = tmp_path / str(k)
        monkeypatch.setenv("RIL_BENCH_CACHE", str(out / "cache"))
        disk.fills_after(writes * k // MOMENTS)
        with pytest.raises(kind, match=os.strerror(number)) as caught:
            runner(tiny_sequence, out).execute()
        assert caught.value.hint
        disk.fills_after(math.inf)
        folder = runner(tiny_sequence, out).execute()
        assert results(folder) == results(finished)
        assert status(folder)["failure"] is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[int], None]]]:
    """A file system of its own, in memory, and a function that sets its size in KiB."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*options: str) -> None:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", place], check=True, capture_output=True
        )

    try:
        mount("size=4k")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield place, lambda kib: mount("remount", f"size={kib}k")
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_real_disk_that_fills_loses_nothing(
    finished: Path,
    tiny_sequence: str,
    small_disk: tuple[Path, Callable[[int], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unlike the disk above, it refuses every kind of write: lines of the log, locks and the cache, too."""
    out, resize = small_disk
    monkeypatch.setenv("RIL_BENCH_CACHE", str(out / "cache"))
    needed = sum(file.stat().st_size for file in finished.rglob("*") if file.is_file()) // 1024
    for k in range(MOMENTS):
        resize(4 + needed * k // MOMENTS)
        with pytest.raises(InfrastructureError, match=os.strerror(errno.ENOSPC)) as caught:
            runner(tiny_sequence, out).execute()
        assert caught.value.hint
    resize(10 * needed + 1024)
    folder = runner(tiny_sequence, out).execute()
    assert results(folder) == results(finished)
    assert status(folder)["failure"] is None
