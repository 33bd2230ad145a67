"""The progress of a run: lines of text, or on a terminal a bar with the reward's curve."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

LINE_EVERY = 15.0  # seconds between lines where there is no terminal
CURVE = 48  # characters of the reward curve
BLOCKS = "▁▂▃▄▅▆▇█"


class Reporter:
    """Reports the progress of a run: `stage` begins a stage, `advance` counts its units.

    On a terminal, a stage is a bar with its speed and the time left, and a line below the bar has the note.
    Elsewhere, a stage prints a line every 15 seconds.

    Args:
        quiet: print nothing.
        verbose: print a line for every unit of work, also on a terminal.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False, verbose: bool = False):
        self.console = console or Console(stderr=True, quiet=quiet, emoji=False)
        self._verbose = verbose
        self._live: Live | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._name, self._total, self._done, self._printed = "", 0, 0, 0.0

    @property
    def quiet(self) -> bool:
        """Whether nothing is printed."""
        return self.console.quiet

    def say(self, text: str) -> None:
        """Prints a line. If a bar is shown, the line stays above it."""
        with suppress(OSError, ValueError):  # a closed or full stream must not stop a run
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Begins a stage of `total` units, of which `done` are done already."""
        self.close()
        self._name, self._total, self._done, self._printed = name, total, done, time.monotonic()
        if self.console.is_terminal and not self.console.quiet and not self._verbose:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),  # the description may hold the name of a file
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task(name, total=total, completed=done, speed="")
            self._live = Live(self._shown(""), console=self.console, transient=True)
            self._live.start()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Counts `units` more units as done, and shows `note` (for example the current reward)."""
        self._done += units
        if self._live is not None and self._bar is not None and self._task is not None:
            pace = self._bar.tasks[0].speed
            self._bar.update(self._task, advance=units, speed=_per_second(pace))
            self._live.update(self._shown(note))
        elif self._verbose or time.monotonic() - self._printed > LINE_EVERY:
            self._printed = time.monotonic()
            self.say(f"{self._name}: {self._done}/{self._total}  {note}".rstrip())

    def close(self) -> None:
        """Removes the bar, if one is shown."""
        if self._live is not None:
            self._live.stop()
            self._live, self._bar, self._task = None, None, None

    def _shown(self, note: str) -> RenderableType:
        assert self._bar is not None
        return Group(self._bar, Text(f"  {note}", style="dim", no_wrap=True, overflow="ellipsis"))

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def progress_note(lines: Sequence[dict[str, Any]]) -> str:
    """The log lines of a task as one line: the reward's curve and value, its gain, and a nonzero penalty."""
    scores = [line["score"] for line in lines]
    gains: dict[str, float] = next((line["gain"] for line in reversed(lines) if "gain" in line), {})
    gained = "".join(f"  {name} {gain:+.2f} sigma" for name, gain in gains.items())
    penalty = f"  penalty {lines[-1]['penalty']:.3g}" if lines[-1]["penalty"] else ""
    return f"reward {sparkline(scores)} {scores[-1]:.4g}{gained}{penalty}"


def sparkline(values: Sequence[float], width: int = CURVE) -> str:
    """A curve with one character for each value, scaled to the range of the values.

    A long series is averaged to `width` values.
    """
    n = min(len(values), width)
    parts = [values[len(values) * k // n : len(values) * (k + 1) // n] for k in range(n)]
    means = [sum(part) / len(part) for part in parts]
    low, span = min(means, default=0.0), max(means, default=0.0) - min(means, default=0.0)
    return "".join(
        BLOCKS[int((mean - low) / span * (len(BLOCKS) - 1) + 0.5) if span else 0] for mean in means
    )


def _per_second(pace: float | None) -> str:
    if not pace:
        return ""
    return f"{pace:.1f}/s" if pace >= 1 else f"{1 / pace:.1f} s each"


def duration(seconds: float) -> str:
    """Seconds as text, in the largest unit that gives at least 2: "119 s", "5 min", "2.5 h"."""
    for unit, scale in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds:.0f} s"
