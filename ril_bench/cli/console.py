"""Functions that print. A user's text appears literally, in any terminal and any encoding."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ril_bench.storage.files import to_json

#: By default Rich shows "[red]" as a colour, ":bug:" as an emoji, and digits as coloured numbers.
_LITERAL: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}


class ReaderLeftError(Exception):
    """The program that read this program's output has ended, as in `ril-bench list | head -1`."""


class _Console(Console):
    """A console that prints to whatever stdout or stderr is, and never ends the process itself."""

    def on_broken_pipe(self) -> None:
        raise ReaderLeftError


if (
    os.environ.get("COLUMNS", "").strip("0") == ""
):  # some programs state a width of 0; Rich would print nothing
    os.environ.pop("COLUMNS", None)

_OUT, _ERR = _Console(**_LITERAL), _Console(stderr=True, **_LITERAL)

#: The width of a table that is not printed to a terminal, in characters: nothing is wrapped or cut.
_PIPE_WIDTH = 400


def prepare_streams() -> None:
    """Prints a character that the encoding lacks as "?" instead of failing, also in the help of a verb.

    A stream that the shell has closed is opened to nowhere: otherwise the next file of a run would get its number, and
    what a library prints.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # in some notebooks the stream is not a text file
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    Console.on_broken_pipe = _Console.on_broken_pipe  # type: ignore[method-assign, assignment]


def literal(text: object) -> str:
    """Text with escaped control characters, so that a file name cannot control the terminal.

    Line feeds and tabs are kept.
    """
    return "".join(
        c if c in "\n\t" or _is_visible(c) else c.encode("unicode_escape").decode() for c in str(text)
    )


def _is_visible(c: str) -> bool:
    # C*: control, format (such as right-to-left override) and surrogate; Zl and Zp: line and paragraph separators
    category = unicodedata.category(c)
    return category[0] != "C" and category not in ("Zl", "Zp")


def say(text: object = "", *, mark: str = "", style: str = "", style_of_mark: str = "") -> None:
    """Prints a line on stdout: a coloured mark, directly followed by text."""
    _print(_OUT, text, mark, style, style_of_mark)


def warn(text: object = "", *, style: str = "") -> None:
    """Prints a line on stderr."""
    _print(_ERR, text, "", style, "")


def _print(console: Console, text: object, mark: str, style: str, style_of_mark: str) -> None:
    line = Text.assemble((mark, style_of_mark), (literal(text), style))
    try:
        console.print(line, soft_wrap=True)
    except BrokenPipeError as error:  # older versions of rich
        raise ReaderLeftError from error
    except (ValueError, OSError):  # a method has closed the stream
        if console is _ERR:
            _to_descriptor(2, f"{line.plain}\n")


def _to_descriptor(descriptor: int, text: str) -> None:
    with suppress(OSError):
        os.write(descriptor, text.encode(errors="replace"))


def show_table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    numbers: bool = False,
    plain: bool = False,
) -> None:
    """Prints a table on stdout.

    Args:
        numbers: all columns but the first are aligned to the right.
        plain: no lines and no head; the first column in colour.
    """
    table = Table(
        title=None if title is None else Text(literal(title), style="bold"),
        title_justify="left",
        show_header=not plain,
        box=None if plain else box.SIMPLE_HEAD,
    )
    for k, name in enumerate(head):
        right = numbers and k > 0
        table.add_column(
            Text(literal(name)),
            justify="right" if right else "left",
            style="cyan" if plain and not k else None,
            no_wrap=right or (plain and not k),
        )
    for row in rows:
        table.add_row(*(Text(literal(cell)) for cell in row))
    wide = _Console(**_LITERAL, width=_PIPE_WIDTH)
    console = _OUT if _OUT.is_terminal or "COLUMNS" in os.environ else wide
    # A number that is cut says something else, and a row without its name nothing; the terminal may wrap the line.
    natural = Measurement.get(wide, wide.options, table).maximum
    if numbers and natural > console.width:
        console = _Console(**_LITERAL, width=natural)
    try:
        console.print(table)
    except BrokenPipeError as error:
        raise ReaderLeftError from error


def show_json(value: Any) -> None:
    """Prints JSON, and nothing else, on stdout: plain ASCII, NaN as null."""
    try:
        print(json.dumps(json.loads(to_json(value)), indent=2))
    except BrokenPipeError as error:
        raise ReaderLeftError from error
