"""What a run says while it works: one line a stage, and a bar with the current reward on a terminal."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY = 15.0  # seconds between lines where there is no terminal


class Reporter:
    """Says what a run does. `stage` opens a piece of work of known size, `advance` moves it on."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False):
        self.console = console or Console(stderr=True, quiet=quiet)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._name, self._total, self._done, self._said = "", 0, 0, 0.0

    def say(self, text: str) -> None:
        """A line of its own."""
        self.close()
        self.console.print(text, markup=False, highlight=False)

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """A piece of work begins: `total` units of which `done` were done before."""
        self.close()
        self._name, self._total, self._done, self._said = name, total, done, time.monotonic()
        if self.console.is_terminal and not self.console.quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task(name, total=total, completed=done, note="")
            self._bar.start()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Some units more are done; `note` is the current value of what is being watched."""
        self._done += units
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=units, note=note)
        elif time.monotonic() - self._said > LINE_EVERY:
            self._said = time.monotonic()
            self.console.print(
                f"{self._name}: {self._done}/{self._total} {note}".rstrip(), markup=False, highlight=False
            )

    def close(self) -> None:
        """Ends the bar, if one is shown."""
        if self._bar is not None:
            self._bar.stop()
            self._bar, self._task = None, None

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
