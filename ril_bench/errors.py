"""Errors that state what is wrong, where, and how to fix it.

`kind` names who has to act: the user, the author of a method, of a reward or of a sequence, the machine's owner, or
RIL-Bench itself. A grid reads `kind` and does not parse the text.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar, Literal

Kind = Literal["user", "method", "reward", "sequence", "numerical", "memory", "infrastructure", "bug"]
ISSUES = "https://github.com/ril-bench/ril-bench/issues"


class RilError(Exception):
    """An error with its place and its hint: `str()` returns "what\\n  where: ...\\n  hint: ..."."""

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

    @property
    def in_one_line(self) -> str:
        """What happened, where and the hint, for a list of notes or faults."""
        return "; ".join(filter(None, (self.what, self.where, self.hint and f"hint: {self.hint}")))

    def __reduce__(self) -> tuple[object, ...]:
        # A grid sends exceptions between processes; the default pickling would lose where and hint.
        return _rebuild, (type(self), self.what, self.where, self.hint)


class UserError(RilError):
    """The request is wrong: a file, key, name or option that the user can change."""

    exit_code = 2
    kind: ClassVar[Kind] = "user"


class MethodError(UserError):
    """The code of a method or of a tuner failed."""

    kind = "method"


class RewardError(UserError):
    """The code of a reward failed, or returned something else than scores."""

    kind = "reward"


class SequenceError(UserError):
    """The file of a sequence, or what it names, does not fit."""

    kind = "sequence"


class NumericalError(RilError):
    """A loss, gradient, reward or weight is not finite.

    The run fails; the value is never averaged away.
    """

    kind = "numerical"


class OutOfMemoryError(RilError):
    """The device cannot hold one micro-batch."""

    kind = "memory"


class InfrastructureError(RilError):
    """The machine failed: the disk is full or missing, or a download failed."""


class BugError(RilError):
    """RIL-Bench itself failed."""

    kind = "bug"


def error_of(kind: Kind, message: str, where: str | None = None) -> RilError:
    """An error of a kind, with the message of an error that another process raised."""
    classes: tuple[type[RilError], ...] = (
        UserError, MethodError, RewardError, SequenceError, NumericalError, OutOfMemoryError, InfrastructureError,
        BugError,
    )  # fmt: skip
    return {cls.kind: cls for cls in classes}[kind](message, where=where)


def message_of(error: BaseException) -> str:
    """The message of an exception, or else its class; also where the message cannot be built or written."""
    try:
        return str(error).encode("utf-8", "replace").decode() or type(error).__name__
    except Exception:  # of a class whose __str__ fails
        return type(error).__name__


def text_of(error: BaseException) -> str:
    """The class and the message of an exception: "ValueError: not so"."""
    kind, message = type(error).__name__, message_of(error)
    return kind if message == kind else f"{kind}: {message}"


def failure_class(error: BaseException) -> Kind:
    """The class of a run's failure, as run.json records it."""
    if isinstance(error, RilError):
        return error.kind
    # torch's own error is recognised by its name, so that this module does not import torch
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "memory"
    return "infrastructure" if isinstance(error, OSError) else "bug"


def _rebuild(cls: type[RilError], what: str, where: str | None, hint: str | None) -> RilError:
    return cls(what, where=where, hint=hint)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: "did you mean 'rid'?", or all known names if none is close."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"known names: {', '.join(known)}" if known else "there are no names to choose from"
