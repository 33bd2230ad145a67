"""Errors that say what is wrong, where, and how to fix it.

Every error that RIL-Bench raises on purpose says what happened, where, and how to fix it. `kind` lets a
caller that runs many cells (the grid) tell a mistake of the user from a diverged training, a lack of memory
or a broken machine without reading the text.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar, Literal

Kind = Literal["user", "numerical", "memory", "infrastructure"]


class RilError(Exception):
    """An error with its place and its hint: `str()` gives "what\\n  where: ...\\n  hint: ..."."""

    exit_code: ClassVar[int] = 1
    kind: ClassVar[Kind] = "infrastructure"

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders in a grid; the default would forget where and hint.
        return _rebuild, (type(self), self.what, self.where, self.hint)


class UserError(RilError):
    """The request cannot be met as written: a wrong file, key, name or option."""

    exit_code = 2
    kind = "user"


class NumericalError(RilError):
    """A loss, gradient, reward or weight is not finite: the run fails, it is never averaged away."""

    kind = "numerical"


class OutOfMemoryError(RilError):
    """The device's memory does not hold one micro-batch."""

    kind = "memory"


class InfrastructureError(RilError):
    """The machine failed: a disk that is full or gone, a download that does not answer."""


def failure_class(error: BaseException) -> Kind:
    """The class that a run's failure is recorded with."""
    if isinstance(error, RilError):
        return error.kind
    memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # torch's
    return "memory" if memory else "infrastructure"


def _rebuild(cls: type[RilError], what: str, where: str | None, hint: str | None) -> RilError:
    return cls(what, where=where, hint=hint)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is not known: "did you mean 'rid'?", else all the known ones."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"known are {', '.join(known)}" if known else "none is known"
