"""Git, asked so that it runs nothing but itself, also where strangers wrote files.

A repository can name commands that git runs: hooks, filters, file monitors, remotes, external diffs. A folder that
holds `HEAD`, `objects` and `refs` is a repository too, with a configuration of its own, and anybody can submit
such a folder. So git starts only where a `.git` is: git itself refuses to store a file of that name. And the
commands here compare stored objects by their names, without hooks, filters, remotes, or a pathspec.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_SAFE = (
    "--no-pager", "--no-replace-objects", "--literal-pathspecs", "--no-optional-locks",
    "-c", "safe.bareRepository=explicit",
    "-c", f"core.hooksPath={os.devnull}",
    "-c", "core.fsmonitor=false",
    "-c", "core.untrackedCache=false",
    "-c", "protocol.allow=never",
)  # fmt: skip
_ALONE = {"GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "none"}


def repository(folder: Path) -> Path | None:
    """The nearest folder at or above `folder` that has a `.git`; None where there is none."""
    folder = folder.absolute()
    return next((one for one in (folder, *folder.parents) if os.path.lexists(one / ".git")), None)


def git(top: Path, *arguments: str) -> str:
    """The output of a git command in the repository whose top folder is `top`.

    Variables such as GIT_DIR, which a hook sets, have no effect. Raises OSError where git is not installed, and
    subprocess.CalledProcessError where it fails.
    """
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *_SAFE, "-C", top, *arguments],
        capture_output=True,
        check=True,
        stdin=subprocess.DEVNULL,
        env=outside | _ALONE | {"GIT_CEILING_DIRECTORIES": str(top.parent)},
    )
    return os.fsdecode(done.stdout)
