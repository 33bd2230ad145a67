"""Git runs nothing that a repository names, and takes no folder of a stranger for a repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ril_bench.machine.git import git, repository
from tests.machine import hostile


def test_the_trap_works(tmp_path: Path) -> None:
    command, marker = hostile.trap(tmp_path / "trap")
    hostile.bare_repository(tmp_path / "bare", command)
    subprocess.run(["git", "-C", tmp_path / "bare", "status"], capture_output=True)
    assert marker.exists()


def test_a_bare_repository_is_none(tmp_path: Path) -> None:
    command, marker = hostile.trap(tmp_path / "trap")
    inside = tmp_path / "bare"
    hostile.bare_repository(inside, command)
    assert repository(inside) is None
    with pytest.raises(subprocess.CalledProcessError):
        git(inside, "rev-parse", "HEAD")
    assert not marker.exists()


def test_the_nearest_repository_is_found_from_below(tmp_path: Path) -> None:
    hostile.git(tmp_path, "init", "-q")
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert repository(tmp_path / "a" / "b") == tmp_path
    shutil.rmtree(tmp_path / ".git")
    (tmp_path / ".git").symlink_to("gone")
    assert repository(tmp_path / "a") == tmp_path


@pytest.mark.parametrize("command", ["status --porcelain", "diff-tree -r -z --no-ext-diff HEAD~ HEAD"])
def test_what_the_configuration_names_is_not_run(tmp_path: Path, command: str) -> None:
    trap, marker = hostile.trap(tmp_path / "trap")
    top = tmp_path / "top"
    top.mkdir()
    hostile.git(top, "init", "-q", "-b", "main")
    for text in ("one", "two"):
        (top / "file.odd").write_text(text)
        (top / ".gitattributes").write_text("*.odd diff=odd\n")
        hostile.git(top, "add", "-A")
        hostile.git(top, "commit", "-q", "-m", text)
    (top / ".git" / "config").write_text(hostile.config(trap, worktree=str(top)))
    (top / "file.odd").write_text("three")
    assert "file.odd" in git(top, *command.split())
    assert not marker.exists()


def test_variables_of_an_outer_git_have_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, marker = hostile.trap(tmp_path / "trap")
    hostile.bare_repository(tmp_path / "bare", command)
    top = tmp_path / "top"
    top.mkdir()
    hostile.git(top, "init", "-q", "-b", "main")
    hostile.git(top, "commit", "-q", "--allow-empty", "-m", "mine")
    own = hostile.git(top, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "bare"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(command))
    monkeypatch.setenv("GIT_PAGER", str(command))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(command))
    assert git(top, "rev-parse", "HEAD").strip() == own
    assert git(top, "status", "--porcelain") == ""
    assert not marker.exists()
