"""Redraws what README.md and docs/ show of stored results: tables, images, the notebook's outputs. `make readme`."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from unittest import mock

from ril_bench import cli
from ril_bench.leaderboard import board

ROOT = Path(__file__).parents[1]
#: <!-- $ command -->, what it printed, <!-- end -->
BLOCK = re.compile(r"(<!-- \$ (?P<command>(?:ril-bench|python) .+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def documents() -> list[Path]:
    """Every page that holds the output of a command."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if BLOCK.search(page.read_text(encoding="utf-8"))]


def rendered(text: str) -> str:
    """The text with the content of each block as its command prints it now."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{printed(found['command'])}\n{found[3]}", text)


def printed(command: str) -> str:
    """What a command prints, run in the repository's root: `ril-bench` in this process, `python` in one of its own."""
    program, *arguments = shlex.split(command)
    if program == "python":
        return subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    shown = io.StringIO()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(shown):
        try:
            with mock.patch.object(sys, "argv", [program, *arguments]):
                cli.main()
        except SystemExit as ended:
            if ended.code:
                raise RuntimeError(f"{command} ended with exit code {ended.code}") from ended
    return shown.getvalue()


def board_read_once() -> AbstractContextManager[object]:
    """Within it, a leaderboard is read and checked once, however many tables are printed of it."""
    return mock.patch.object(board, "read_board", functools.cache(board.read_board))


def main() -> None:
    """Rewrites the documents in place, then the images, then the outputs of the notebook."""
    with board_read_once():
        for page in documents():
            page.write_text(rendered(page.read_text(encoding="utf-8")), encoding="utf-8")
    metrics = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py")], stdout=subprocess.PIPE, check=True
    )
    (ROOT / "docs" / "metrics.md").write_bytes(metrics.stdout)
    for script in ("figures.py", "notebooks/execute.py"):
        subprocess.run([sys.executable, str(ROOT / "docs" / script)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
