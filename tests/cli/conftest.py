"""Fixtures for the tests of the command line: they call a verb as a user types it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from ril_bench import cli

Answer = tuple[int, str, str]  # exit code, stdout, stderr


@pytest.fixture
def verb(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Calls the entry point in this process with the words of a command."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["ril-bench", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return stopped.value.code, printed.out, printed.err

    return call


@pytest.fixture
def refused(verb: Callable[..., Answer]) -> Callable[..., str]:
    """Calls a verb that must refuse (exit code 2, nothing on stdout); returns the message."""

    def message(*words: object) -> str:
        code, out, text = verb(*words)
        assert (code, out) == (2, "")
        return text

    return message
