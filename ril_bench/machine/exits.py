"""Code of others must not end the process without a word."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def exits_refused(of_others: Callable[[str], bool]) -> Iterator[None]:
    """Inside, a call of os._exit in a file of others raises SystemExit, which can be caught and reported.

    Other code keeps os._exit: the guard of a process that ends with its parent needs it.

    Args:
        of_others: whether the file with this name is of others.
    """
    real = os._exit

    def guarded(status: int = 1) -> NoReturn:
        if of_others(sys._getframe(1).f_code.co_filename):
            raise SystemExit(status)
        real(status)

    os._exit = guarded
    try:
        yield
    finally:
        os._exit = real
