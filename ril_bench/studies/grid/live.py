"""Shows the progress of a grid's runs in other processes, by reading their folders."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ril_bench.errors import UserError
from ril_bench.running.plan import RunPlan
from ril_bench.running.progress import Reporter
from ril_bench.storage.read import read_run

EVERY = 1.0  # seconds between two readings of the folders


@contextmanager
def watching(plans: Sequence[RunPlan], out: Path, reporter: Reporter) -> Iterator[None]:
    """While the block runs, the note of the reporter's bar has one line for each active run."""
    # Building a user's method changes what the whole process prints and how it ends: never beside other work.
    watched = [(plan, updates_of(plan)) for plan in plans]
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(EVERY):
            lines = [line for plan, updates in watched if (line := state_of(plan, updates, out))]
            if lines:
                reporter.advance(0, note="\n  ".join(lines))

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def updates_of(plan: RunPlan) -> list[int]:
    """The largest number of updates of each step; builds the method."""
    return [plan.updates(i) for i in range(1, len(plan.sequence.tasks) + 1)]


def state_of(plan: RunPlan, updates: Sequence[int], out: Path) -> str | None:
    """What a run does now, in one line; None if it has not begun, or has ended. Reads files alone.

    Args:
        updates: what `updates_of` returned.
    """
    folder = plan.folder(out)
    try:
        run = read_run(folder)
        if run.info.get("status") != "running":
            return None
        log = run.log
    except UserError:  # no run yet
        return None
    name = str(plan.folder(Path()))
    if not log:
        return f"{name}: loads, and evaluates the pretrained model"
    task, update = log[-1]["task"], log[-1]["update"] + 1
    most, reward = updates[task - 1], log[-1]["reward"]
    if update >= most:
        return f"{name}: evaluates the model after {plan.sequence.order[task - 1]}"
    return f"{name}: trains {reward}, update {update} of {most}, reward {log[-1]['score']:.4g}"
