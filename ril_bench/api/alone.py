"""A verb that computes has the process for itself."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_TURN = threading.RLock()


def _new_turn() -> None:
    global _TURN
    _TURN = threading.RLock()


# In a forked process, no thread is left that could release the lock.
os.register_at_fork(after_in_child=_new_turn)


def alone(verb: Callable[P, T]) -> Callable[P, T]:
    """The verb, for one thread at a time, in one state of torch.

    torch's state, and what libraries patch while they load a model, belong to the process: other threads wait for
    their turn. A state that the caller changed, such as autocast or the default dtype, does not change the results,
    and is there again afterwards.
    """

    @wraps(verb)
    def inside(*arguments: P.args, **options: P.kwargs) -> T:
        with _TURN:
            if "torch" not in sys.modules:  # then nobody has changed its state, and the verb may not need it
                return verb(*arguments, **options)
            from ril_bench.machine.global_state import standard_state

            with standard_state():
                return verb(*arguments, **options)

    return inside
