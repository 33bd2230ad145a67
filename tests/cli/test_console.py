"""Text of users appears literally, in any encoding and on any terminal."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from ril_bench.cli import console


@pytest.mark.parametrize(
    "text", ["[red]no colour[/red]", "[/]", ":bug: 1.5 'quoted'", "[link=x]", "†↑−", "a\n  b"]
)
def test_markup_emoji_and_numbers_of_a_user_are_text(capsys, text):
    console.say(text)
    console.warn(text)
    printed = capsys.readouterr()
    assert printed.out == printed.err == f"{text}\n"


def test_a_line_is_never_wrapped(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    console.say("runs/" + "x" * 200, mark="ok ", style_of_mark="green")
    assert capsys.readouterr().out == f"ok runs/{'x' * 200}\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\rb\x07\x00", r"a\rb\x07\x00"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\udcff", r"\udcff"),
        ("two\u2028lines", r"two\u2028lines"),
        ("tab\tand\nline", "tab\tand\nline"),
    ],
)
def test_control_characters_are_spelled_out(text, shown):
    assert console.literal(text) == shown


def test_an_encoding_that_lacks_a_character_gets_a_question_mark(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="")
    monkeypatch.setattr(sys, "stdout", stream)
    console.prepare_streams()
    console.say("† \N{SNOWMAN} a")
    stream.flush()
    assert stream.buffer.getvalue() == b"? ? a\n"


def test_numbers_and_names_of_a_table_are_never_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    head, rows = ["metric", *(f"column {k}" for k in range(5))], [["FORGET", *["-0.02871234"] * 5]]
    console.show_table(head, rows, numbers=True)
    printed = capsys.readouterr().out
    assert "FORGET" in printed
    assert printed.count("-0.02871234") == 5
    assert all(name in printed for name in head)


def test_a_table_shows_brackets_and_is_not_cut_in_a_pipe(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    console.show_table(
        ["name", "[b]"], [["[red]", "1.0 [0.5, 1.5]"], ["x" * 150, ""]], title="[t]", numbers=True
    )
    printed = capsys.readouterr().out
    for text in ("[t]", "[b]", "[red]", "1.0 [0.5, 1.5]", "x" * 150):
        assert text in printed


@pytest.mark.parametrize("width", ["0", "00", ""])
def test_a_width_of_nothing_is_no_width(width):
    """As some programs set it; Rich would print nothing."""
    command = [sys.executable, "-m", "ril_bench", "run", "nope", "-m", "naive"]
    done = subprocess.run(command, env=os.environ | {"COLUMNS": width}, capture_output=True, text=True)
    assert done.returncode == 2
    assert "nope" in done.stderr


def test_json_is_ascii_and_has_no_nan(capsys):
    console.show_json({"value": float("nan"), "name": "é†", "rows": (1, 2)})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == {"value": None, "name": "é†", "rows": [1, 2]}


def test_a_closed_stream_is_survived(monkeypatch, capfd):
    """A method may close stdout; what must be said still arrives on stderr."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    out.close()
    err.close()
    console.say("a result")
    console.warn("error: é \N{SNOWMAN}")
    assert capfd.readouterr().err == "error: é \N{SNOWMAN}\n"


def test_a_stream_that_the_shell_closed_leads_to_nowhere(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    console.prepare_streams()
    console.say("a result")
    console.warn("a warning")
    assert sys.stdin.read() == ""
    assert sys.stdout.name == sys.stdout.fileno()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()


class Left(io.StringIO):
    """A stream whose reader has ended."""

    def write(self, text):
        raise BrokenPipeError


def test_a_reader_that_left_is_noticed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Left())
    for show in (
        lambda: console.say("a"),
        lambda: console.show_json({}),
        lambda: console.show_table(["a"], [["b"]]),
    ):
        with pytest.raises(console.ReaderLeftError):
            show()


def test_progress_does_not_interpret_a_name(monkeypatch):
    from ril_bench.running.progress import Reporter

    screen = io.StringIO()
    reporter = Reporter(Console(file=screen, force_terminal=True, width=120, emoji=False))
    with reporter:
        reporter.stage("[red]mine[/red]", 2)
        reporter.advance(note="[b]x[/b]")
    assert "[red]mine[/red]" in screen.getvalue()
    assert "[b]x[/b]" in screen.getvalue()
