"""A deadline for code of others that may hang."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ril_bench.errors import UserError

AGAIN = 5.0  # seconds until the deadline is announced again, to code that catches everything
LONGEST = 1e6  # seconds
ANNOUNCED = 3  # times; then the process ends


class DeadlineError(BaseException):
    """The time is over. Not an Exception, so that code which catches those does not catch it by accident."""


@contextmanager
def deadline(seconds: float, of_others: Callable[[str], bool]) -> Iterator[None]:
    """Raises DeadlineError in the block after some seconds; it names the hook of others that is at work.

    Works in the main thread, on systems that have timers; elsewhere there is no deadline. Code in C is interrupted
    when it returns to Python. Code that catches the error every time ends with the process, after a message.

    Args:
        of_others: whether the file with this name is of others.

    Raises UserError for seconds that no timer can count.
    """
    if not 0 < seconds <= LONGEST:
        raise UserError(
            f"{seconds:g} seconds is no deadline", where="timeout", hint=f"above 0, at most {LONGEST:g}"
        )
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    left = ANNOUNCED

    def ring(_: int, frame: FrameType | None) -> None:
        nonlocal left
        theirs = [one for one in traceback.extract_stack(frame) if of_others(one.filename)]
        place = f", in {theirs[0].name} (line {theirs[-1].lineno})" if theirs else ""
        message = f"not done after {seconds:g} s{place}"
        if left == 0:
            file = f"{theirs[-1].filename}: " if theirs else ""
            os.write(2, f"error: {file}{message}; it catches the error that would stop it\n".encode())
            os._exit(2)
        left -= 1
        raise DeadlineError(message)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
