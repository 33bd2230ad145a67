"""Entries are only added, never changed: the changes since a git revision."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from ril_bench.errors import UserError

CHANGES = {"M": "changed", "D": "deleted", "T": "replaced by another kind of file"}


@dataclass(frozen=True)
class History:
    """The files that were added since a revision, and a fault for each that was changed or deleted."""

    added: tuple[Path, ...]
    faults: tuple[UserError, ...]

    def touches(self, folder: Path) -> bool:
        """Whether a file was added at or below a folder."""
        return any(path.is_relative_to(folder) for path in self.added)


def added_since(revision: str, folder: Path) -> History:
    """The changes to files below a folder since the common ancestor of `revision` and HEAD.

    Raises UserError where the folder is in no git repository, or the repository has no such revision.
    """
    top = Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    # No renames, because moving an entry deletes it. NUL separates fields, because a name may hold anything else.
    words = _git(
        folder, "diff", "--name-status", "--no-renames", "-z", f"{revision}...HEAD", "--", str(folder)
    )
    fields = words.split("\0")[:-1]
    changes = [(status, top / name) for status, name in zip(fields[::2], fields[1::2], strict=True)]
    return History(
        tuple(path for status, path in changes if status == "A"),
        tuple(
            UserError(
                f"an entry's file was {CHANGES.get(status, 'changed')}: {path.name}"[:200],
                where=str(path),
                hint="entries are only added: restore it, and submit what is new beside it",
            )
            for status, path in changes
            if status != "A"
        ),
    )


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        # A revision that does not exist fails without a word: rev-parse is called with --quiet.
        quiet = isinstance(error, subprocess.CalledProcessError) and not error.stderr.strip()
        reason = "there is no such revision" if quiet else getattr(error, "stderr", "") or str(error)
        raise UserError(
            f"git failed: {reason.strip()}",
            where=str(folder),
            hint="name a revision of this repository, as origin/main, and fetch it first",
        ) from error
    return done.stdout
