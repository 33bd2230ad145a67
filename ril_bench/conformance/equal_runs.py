"""Runs that must end with the same bytes: two of one seed, and one that is killed and resumed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ril_bench.conformance.suite import CheckFailed
from ril_bench.conformance.watch import Stopped, Watch
from ril_bench.running.runner import Runner
from ril_bench.storage import names

Run = Callable[..., tuple[Runner, Watch]]  # (label, stop=...)


def killed_and_resumed(run: Run, stop: tuple[int, int]) -> Runner | Exception:
    """The run that was killed at `stop` (task, update) and has been resumed; or the error that ended it."""
    try:
        try:
            run("killed", stop=stop)
        except Stopped:
            return run("killed")[0]
        raise RuntimeError("the run ended before it could be stopped")
    except Exception as error:
        return error


def check_repeats(straight: Runner, resumed: Runner | Exception, run: Run, hint: str) -> None:
    """Raises CheckFailed if two runs of one seed differ.

    A resumed run has computed every task a second time. So a third run is needed only where its bytes differ, or where
    it failed: the third run tells whether the draws or the resume are the cause.
    """
    if isinstance(resumed, Exception) or different_task(straight, resumed):
        require_equal(straight, run("again")[0], "two runs of one seed differ", hint)


def check_resumes(straight: Runner, resumed: Runner | Exception, what: str, hint: str) -> None:
    """Raises CheckFailed if the resumed run differs from the straight one, and the error that ended it, if any."""
    if isinstance(resumed, Exception):
        raise resumed
    require_equal(straight, resumed, what, hint)


def require_equal(first: Runner, second: Runner, what: str, hint: str) -> None:
    """Raises CheckFailed for the first task whose adapters differ between two runs."""
    if different := different_task(first, second):
        raise CheckFailed(f"{what}: {different}", hint)


def different_task(first: Runner, second: Runner) -> str | None:
    """The first task whose adapters differ between two runs, in words; None where all are equal."""
    for i in range(1, len(first.sequence.tasks) + 1):
        a, b = ((run.folder.path / names.adapter(i)).read_bytes() for run in (first, second))
        if a != b:
            tails = (np.frombuffer(data[-4096:], np.float32) for data in (a, b))
            return f"the adapters of task {i} (by up to {np.abs(np.subtract(*tails)).max():.2g})"
    return None
