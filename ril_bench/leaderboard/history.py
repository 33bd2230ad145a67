"""Entries are only added, never changed: the changes since a git revision."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ril_bench.errors import UserError
from ril_bench.machine.git import git, repository

CHANGES = {"M": "changed", "D": "deleted", "T": "replaced by another kind of file"}
#: kinds of content that no entry has, by git's mode
KINDS = {"160000": "a git submodule", "120000": "a symbolic link", "100755": "a program"}
OF_GIT = ".git"  # begins the names of files that change how git reads the others


@dataclass(frozen=True)
class History:
    """The files that were added since a revision, and a fault for each other change."""

    added: tuple[Path, ...]
    faults: tuple[UserError, ...]

    def touches(self, folder: Path) -> bool:
        """Whether a file was added at or below a folder."""
        return any(path.is_relative_to(folder) for path in self.added)


class Change(NamedTuple):
    """One path that differs between two commits, with the mode of its new content."""

    mode: str
    status: str
    path: Path


def added_since(revision: str, root: Path, scope: Path) -> History:
    """The changes at or below `scope` since the common ancestor of `revision` and HEAD.

    Args:
        root: the folder entries/. Strangers wrote what is in it, so git starts above it.
        scope: the root, or a folder inside it.

    Raises UserError where the leaderboard is in no git repository, or the repository has no such revision.
    """
    changes = [one for one in _changes(revision, root) if one.path.is_relative_to(scope)]
    found = [(one.path, _fault(one)) for one in changes]
    return History(
        tuple(path for path, fault in found if fault is None),
        tuple(fault for _, fault in found if fault is not None),
    )


def _fault(change: Change) -> UserError | None:
    name, where = change.path.name, str(change.path)
    if change.status in ("A", "T") and change.mode in KINDS:
        return UserError(
            f"{KINDS[change.mode]}: {name}"[:200], where=where, hint="put plain files in its place"
        )
    if name.casefold().startswith(OF_GIT) and change.status != "D":
        return UserError(
            f"a file that git itself reads: {name}"[:200],
            where=where,
            hint="delete it: entries hold results alone",
        )
    if change.status == "A":
        return None
    return UserError(
        f"an entry's file was {CHANGES.get(change.status, 'changed')}: {name}"[:200],
        where=where,
        hint="entries are only added: restore it, and submit what is new beside it",
    )


def _changes(revision: str, root: Path) -> Iterator[Change]:
    top = repository(root.parent)
    if top is None:
        raise _refused("this is no git repository", root.parent)
    try:
        commits = [
            git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
            for name in (revision, "HEAD")
        ]
        base = git(top, "merge-base", *commits).strip()
        # No renames, because moving an entry deletes it. NUL separates fields, as a name may hold anything else.
        words = git(top, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", base, commits[1])
    except (OSError, subprocess.CalledProcessError) as error:
        # A revision that does not exist fails without a word: rev-parse is called with --quiet.
        said = os.fsdecode(getattr(error, "stderr", b"") or b"").strip()
        silent = isinstance(error, subprocess.CalledProcessError) and not said
        raise _refused("there is no such revision" if silent else said or str(error), top) from error
    fields = words.split("\0")[:-1]
    for change, name in zip(fields[::2], fields[1::2], strict=True):
        _, mode, _, _, status = change.split(" ")
        yield Change(mode, status, top / name)


def _refused(reason: str, where: Path) -> UserError:
    return UserError(
        f"git failed: {reason}",
        where=str(where),
        hint="name a revision of this repository, as origin/main, and fetch it first",
    )
