"""Entries are only ever added, as git tells it; the git here is the real one, in a repository of the test's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ril_bench.errors import UserError
from ril_bench.leaderboard.check import check
from tests.leaderboard.tampering import entry, symlink


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True)


def commit(board: Path) -> None:
    git(board, "add", "-A")
    git(board, "commit", "-q", "-m", "more", "--allow-empty")


@pytest.fixture
def repository(board: Path) -> Path:
    """The honest leaderboard in a repository whose branch `main` lacks seeds 1 and 2."""
    git(board.parent, "init", "-q", "-b", "main")
    later = [path.rename(board.parent.parent / path.name) for path in sorted(board.rglob("seed-[12]"))]
    commit(board)
    git(board, "checkout", "-q", "-b", "mine")
    for path in later:
        path.rename(entry(board).parent / path.name)
    commit(board)
    return board


def faults(board: Path, since: str = "main") -> list[str]:
    return [f"{one.check}: {one.fault.what}" for v in check(board, since=since) for one in v.faults]


def test_what_was_added_is_checked_and_nothing_else(repository: Path) -> None:
    places = [verdict.place.rpartition("/")[2] for verdict in check(repository, since="main")]
    assert places[:2] == ["seed-1", "seed-2"]
    assert len(places) == 3  # and the method whose seeds they are
    assert faults(repository) == []
    (entry(repository, 1) / "x.txt").write_text("x")
    commit(repository)
    assert faults(repository) == ["files: an unknown file: x.txt"]


def test_a_changed_a_deleted_and_a_moved_file_are_refused(repository: Path) -> None:
    old = entry(repository, 0)
    (old / "matrix.csv").write_text((old / "matrix.csv").read_text() + "\n")
    (old / "contact.png").unlink()
    git(repository, "mv", str(old / "metrics.json"), str(old / "other.json"))
    commit(repository)
    found = [line for line in faults(repository) if line.startswith("history: ")]
    assert sorted(found) == [
        "history: an entry's file was changed: matrix.csv",
        "history: an entry's file was deleted: contact.png",
        "history: an entry's file was deleted: metrics.json",
    ]


def test_a_file_that_becomes_a_link_is_refused(repository: Path) -> None:
    symlink(entry(repository, 0))
    commit(repository)
    assert any("replaced by another kind of file: matrix.csv" in line for line in faults(repository))


def test_nothing_added_nothing_to_check(repository: Path) -> None:
    assert list(check(repository, since="mine")) == []


@pytest.mark.parametrize("revision", ["nowhere", "--output=/tmp/x", "main:leaderboard"])
def test_a_revision_that_is_none(repository: Path, revision: str) -> None:
    with pytest.raises(UserError, match="git failed"):
        faults(repository, revision)
