"""Entries are only ever added, as git tells it; the git here is the real one, in a repository of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ril_bench.errors import UserError
from ril_bench.leaderboard.check import check
from ril_bench.leaderboard.history import added_since
from tests.leaderboard.tampering import entry, symlink
from tests.machine.hostile import bare_repository, git, trap


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
    (old / "contact.webp").unlink()
    git(repository, "mv", str(old / "metrics.json"), str(old / "other.json"))
    commit(repository)
    found = [line for line in faults(repository) if line.startswith("history: ")]
    assert sorted(found) == [
        "history: an entry's file was changed: matrix.csv",
        "history: an entry's file was deleted: contact.webp",
        "history: an entry's file was deleted: metrics.json",
    ]


def test_a_file_that_becomes_a_link_is_refused(repository: Path) -> None:
    symlink(entry(repository, 0))
    commit(repository)
    assert "history: a symbolic link: matrix.csv" in faults(repository)


def test_nothing_added_nothing_to_check(repository: Path) -> None:
    assert list(check(repository, since="mine")) == []


@pytest.mark.parametrize("revision", ["nowhere", "--output=/tmp/x", "main:leaderboard"])
def test_a_revision_that_is_none(repository: Path, revision: str) -> None:
    with pytest.raises(UserError, match="git failed"):
        faults(repository, revision)


# -- repositories of strangers -------------------------------------------------------------------------------


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """entries/ of a repository with one file on `main`, and one more on `mine`."""
    root = tmp_path / "repository" / "leaderboard" / "entries"
    root.mkdir(parents=True)
    git(tmp_path / "repository", "init", "-q", "-b", "main")
    (root / "a").write_text("a")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "a")
    git(root, "checkout", "-q", "-b", "mine")
    (root / "b").write_text("b")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "b")
    return root


@pytest.mark.parametrize("where", [".", "..", "c/d"])
def test_a_submitted_repository_runs_nothing(plain: Path, tmp_path: Path, where: str) -> None:
    command, marker = trap(tmp_path / "trap")
    bare_repository(plain / where, command)
    assert added_since("main", plain, plain / where if where == "c/d" else plain).faults == ()
    assert added_since("main", plain, plain).added == (plain / "b",)
    assert not marker.exists()


def test_a_submodule_is_refused(plain: Path) -> None:
    commit = git(plain, "rev-parse", "HEAD")
    git(plain, "update-index", "--add", "--cacheinfo", f"160000,{commit},leaderboard/entries/module")
    git(plain, "commit", "-q", "-m", "module")
    history = added_since("main", plain, plain)
    assert [fault.what for fault in history.faults] == ["a git submodule: module"]
    assert history.added == (plain / "b",)


def test_links_programs_and_what_git_reads_are_refused_by_name(plain: Path) -> None:
    (plain / "link").symlink_to("a")
    (plain / "program").write_text("#!/bin/sh\n")
    (plain / "program").chmod(0o755)
    (plain / ".gitattributes").write_text("*.json filter=odd\n")
    (plain / ".gitmodules").write_text("")
    git(plain, "add", "-A")
    git(plain, "commit", "-q", "-m", "more")
    assert sorted(fault.what for fault in added_since("main", plain, plain).faults) == [
        "a file that git itself reads: .gitattributes",
        "a file that git itself reads: .gitmodules",
        "a program: program",
        "a symbolic link: link",
    ]


def test_an_empty_folder_is_refused(board: Path) -> None:
    (entry(board).parent / "seed-9").mkdir()
    found = [str(one) for verdict in check(board) for one in verdict.faults]
    assert found[0].startswith("files: an empty folder, as a git submodule leaves it")


def test_a_name_is_no_pattern(plain: Path) -> None:
    odd = plain / ":(exclude)b"
    odd.mkdir()
    (odd / "c").write_text("c")
    git(plain, "add", "-A")
    git(plain, "commit", "-q", "-m", "c")
    assert added_since("main", plain, odd).added == (odd / "c",)


def test_no_repository_above_the_entries(tmp_path: Path) -> None:
    (tmp_path / "entries" / ".git").mkdir(parents=True)
    with pytest.raises(UserError, match="this is no git repository"):
        added_since("main", tmp_path / "entries", tmp_path / "entries")
