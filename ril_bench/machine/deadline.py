"""A deadline for code of others that may hang."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 5.0  # seconds until the deadline is announced again, to code that catches everything


class DeadlineError(BaseException):
    """The time is over. Not an Exception, so that code which catches those does not catch it by accident."""


@contextmanager
def deadline(seconds: float, of_others: Callable[[str], bool]) -> Iterator[None]:
    """Raises DeadlineError in the block after some seconds; it names the function of others that is at work.

    Works in the main thread, on systems that have timers; elsewhere there is no deadline. Code in C is interrupted
    when it returns to Python.

    Args:
        of_others: whether the file with this name is of others.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_: int, frame: FrameType | None) -> None:
        stack = traceback.extract_stack(frame)
        theirs = [one for one in stack if of_others(one.filename)]
        place = f", in {theirs[-1].name} (line {theirs[-1].lineno})" if theirs else ""
        raise DeadlineError(f"not done after {seconds:g} s{place}")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
