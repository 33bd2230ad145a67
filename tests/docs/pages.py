"""Finds the commands of README.md and the guides, and runs them in a separate process.

Blocks of a page: a title that is a file's name (a file to write), `sh` (commands to type), `sh title="takes minutes"`
(the same, with shapes-smoke in the place of shapes-ril), `sh title="needs ..."` (commands that are only parsed), and
other languages (not typed).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "docs" / "index.md", *GUIDES]
BLOCK = re.compile(
    r'^(?P<indent> *)```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)^ *```$',
    re.MULTILINE | re.DOTALL,
)
#: The beginnings of set-up lines; the machine that runs the tests is set up already.
SET_UP = ("git ", "make ", "source ", "pip ")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str | None
    body: str

    @property
    def file(self) -> str | None:
        """The file that the block is to be written to."""
        return self.title if self.title and re.fullmatch(r"[\w./-]+\.\w+", self.title) else None

    @property
    def typed(self) -> bool:
        return self.language == "sh" and not (self.title or "").startswith("needs")

    @property
    def commands(self) -> list[list[str]]:
        """Its lines as arguments, without set-up lines and comments."""
        body = self.body.replace("\\\n", " ")
        if self.title == "takes minutes":
            body = body.replace("shapes-ril", "shapes-smoke")
        lines = (line.strip() for line in body.splitlines())
        return [
            shlex.split(line, comments=True) for line in lines if line and not line.startswith(("#", *SET_UP))
        ]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    found = []
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        body = re.sub(f"^{match['indent']}", "", match["body"], flags=re.MULTILINE)
        found.append(Block(match["language"], match["title"], body))
    return found


def command_blocks(page: Path) -> Iterator[Block]:
    """The blocks with commands, typed or not."""
    yield from (block for block in blocks(page) if block.language == "sh")


def script(name: str) -> ModuleType:
    """A script of docs/, imported."""
    place = importlib.util.spec_from_file_location(Path(name).stem, ROOT / "docs" / name)
    module = importlib.util.module_from_spec(place)
    sys.modules[place.name] = module
    place.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Result:
    """The exit code of a command, and what it printed on both streams."""

    code: int
    output: str


def in_a_fork(action: Callable[[], int], folder: Path) -> Result:
    """Runs an action in a child process, in the given folder.

    The child begins with the imports of this process, so that no command has to import torch again. Its
    changes to the process end with it, as with a command in a shell.
    """
    printed = folder / ".printed"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            with printed.open("wb", buffering=0) as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
            sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
            os.chdir(folder)
            code = action()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return Result(os.waitstatus_to_exitcode(status), printed.read_text(encoding="utf-8", errors="replace"))
