"""Digests, JSON and atomic writes, also when a disk fails."""

from __future__ import annotations

import errno
import hashlib
import math
import os
from pathlib import Path

import numpy as np
import pytest

from ril_bench.errors import InfrastructureError, NumericalError, UserError
from ril_bench.storage.digests import sha256_file, sha256_json
from ril_bench.storage.files import read_json, to_json, write_files
from ril_bench.storage.run_folder import RunFolder


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert sha256_json({"b": 1, "a": "é"}) == hashlib.sha256('{"a":"é","b":1}'.encode()).hexdigest()
    with pytest.raises(ValueError, match="not JSON compliant"):
        sha256_json(math.nan)


def test_json_for_people(tmp_path: Path) -> None:
    value = {"nan": math.nan, 1: np.float32(0.5), "rows": np.array([[1.0, np.nan]]), "t": (1, "é")}
    write_files({tmp_path / "a.json": to_json(value).encode()})
    assert read_json(tmp_path / "a.json") == {"nan": None, "1": 0.5, "rows": [[1.0, None]], "t": [1, "é"]}
    with pytest.raises(NumericalError):
        to_json([math.inf])


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_is_raised_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    folder = RunFolder(tmp_path)
    folder.write_text("a", "old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(InfrastructureError, match="No space left"):
        folder.write_text("a", "new")
    assert files(tmp_path) == {"a"}
    assert (tmp_path / "a").read_text() == "old"


def test_a_folder_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        RunFolder(tmp_path / "file" / "run").write_text("a", "x")


@pytest.mark.parametrize("kind", ["loop", "long name", "proc", "a folder", "below a file"])
def test_a_place_that_cannot_hold_a_file_is_the_users_error(tmp_path: Path, kind: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    place = {
        "loop": tmp_path / "loop/a.txt",
        "long name": tmp_path / ("x" * 300) / "a.txt",
        "proc": Path("/proc/a.txt"),
        "a folder": tmp_path / "folder",
        "below a file": tmp_path / "file/a.txt",
    }[kind]
    with pytest.raises(UserError, match="cannot write") as caught:
        write_files({place: b""})
    assert "disk" not in str(caught.value.hint)


def test_json_with_half_of_a_character_can_be_written():
    assert to_json({"a": "\ud83d"}).encode() == b'{\n  "a": "?"\n}\n'
