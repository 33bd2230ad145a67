"""Git repositories as a stranger would write them: whatever git runs in them creates a marker file."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str) -> str:
    """A command of the test itself, which trusts the folder."""
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def config(command: Path, worktree: str) -> str:
    """A configuration that names `command` wherever git may run one."""
    return f"""
[core]
    repositoryformatversion = 1
    bare = false
    worktree = {worktree}
    fsmonitor = {command}
    sshCommand = {command}
    pager = {command}
    editor = {command}
    gitProxy = {command}
    alternateRefsCommand = {command}
    hooksPath = {command.parent}/hooks
[pager]
    diff = {command}
    status = {command}
[diff]
    external = {command}
[diff "odd"]
    command = {command}
    textconv = {command}
[filter "odd"]
    clean = {command}
    smudge = {command}
    process = {command}
    required = true
[credential]
    helper = !{command}
[extensions]
    partialClone = origin
[remote "origin"]
    url = ext::{command}
    uploadpack = {command}
    promisor = true
    partialclonefilter = blob:none
[alias]
    rev-parse = !{command}
    diff-tree = !{command}
"""


def trap(folder: Path) -> tuple[Path, Path]:
    """A command, and the marker file that it creates when it runs."""
    folder.mkdir(parents=True, exist_ok=True)
    marker, command = folder / "it-ran", folder / "command.sh"
    command.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    command.chmod(0o755)
    (folder / "hooks").mkdir(exist_ok=True)
    for hook in ("post-index-change", "fsmonitor-watchman", "reference-transaction", "post-checkout"):
        (folder / "hooks" / hook).write_text(command.read_text())
        (folder / "hooks" / hook).chmod(0o755)
    return command, marker


def bare_repository(folder: Path, command: Path) -> None:
    """Turns a folder into a bare repository, which needs no file that git refuses to store."""
    folder.mkdir(parents=True, exist_ok=True)
    other = folder.parent / "source-of-the-trap"
    other.mkdir()
    git(other, "init", "-q", "-b", "main")
    git(other, "commit", "-q", "--allow-empty", "-m", "x")
    for part in ("HEAD", "objects", "refs"):
        (other / ".git" / part).rename(folder / part)
    (folder / "config").write_text(config(command, worktree=".."))
