"""Calls of code of others: a fault of theirs names their file, even where no line of it is in a traceback."""

from __future__ import annotations

import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ril_bench.errors import RilError, failure_class, text_of
from ril_bench.machine.global_state import GlobalState

T = TypeVar("T")
PACKAGE = "ril_bench."
#: folders of Python's own modules, of installed packages, and of this package
LIBRARIES = (*(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")), "<")
OWN = f"{Path(__file__).parents[1]}{os.sep}"


class Blame(Protocol):
    """Makes the error of the author of some code."""

    def __call__(self, what: str, *, where: str, hint: str) -> RilError: ...


def called(hook: Callable[..., T], arguments: Sequence[Any], of: type, name: str, blame: Blame) -> T:
    """What a hook of others returns.

    An exception that has a line of the class's file in its traceback passes: that line tells whose it is. Raises the
    error of `blame` where there is no such line, as for a hook that takes other arguments, and where the hook leaves
    a state of torch or of the process changed, which is restored.

    Args:
        of: the class of the hook; `name` is the name of the hook.
    """
    before = GlobalState()
    try:
        result = hook(*arguments)
    except Exception as error:
        if isinstance(error, RilError) or failure_class(error) != "bug" or _names(error, of):
            raise
        raise blame(
            f"failed: {text_of(error)} (in {name})",
            where=line_of_others(error) or place_of(of, name),
            hint=f"the hook is called as {name}({', '.join(_shown(of, name))})",
        ) from error
    if changed := before.changes():
        before.restore()
        raise blame(
            f"leaves a state changed after {name}: {'; '.join(changed)}",
            where=place_of(of, name),
            hint="change such a state only inside a `with` block, as torch.no_grad(): it is the run's, too",
        )
    return result


def of_package(function: object) -> bool:
    """Whether a function is this package's own."""
    return str(getattr(function, "__module__", "")).startswith(PACKAGE)


def place_of(cls: type, hook: str) -> str:
    """The file and the line of a hook of a class: "/home/me/mine.py:12"; of the class where it has no line."""
    function = inspect.unwrap(getattr(cls, hook, cls))
    code = getattr(function, "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    return _file(cls) or f"{cls.__module__}, class {cls.__name__}"


def _file(cls: type) -> str | None:
    return getattr(sys.modules.get(cls.__module__), "__file__", None)


def _names(error: BaseException, cls: type) -> bool:
    """Whether the traceback of an exception has a line of the class's file."""
    file = _file(cls)
    return any(frame.filename == file for frame in traceback.extract_tb(error.__traceback__))


def line_of_others(error: BaseException) -> str | None:
    """The last line of a traceback that is neither this package's nor a library's."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*LIBRARIES, OWN))
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


def _shown(cls: type, hook: str) -> list[str]:
    """The arguments of a hook, as this package's base class declares it."""
    for base in cls.__mro__:
        function = vars(base).get(hook)
        if function is not None and of_package(function):
            return list(inspect.signature(function).parameters)[1:]
    return ["..."]
