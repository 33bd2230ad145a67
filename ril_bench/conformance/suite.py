"""A suite of checks that run one after another, each with its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ril_bench.errors import ISSUES, RilError, text_of
from ril_bench.machine.calls import line_of_others
from ril_bench.machine.deadline import DeadlineError

NOWHERE = (
    f"no line of the file that is checked is in the traceback; if its code is right, report it at {ISSUES}"
)
Check = Callable[[], str | None]


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        check: what was checked.
        fault: what is wrong; None where the check passed.
        hint: how to fix the fault.
        note: what could not be checked here, or what else the author should know. A note is no fault.
        skipped: whether nothing was checked, as the note says.
    """

    check: str
    fault: str | None = None
    hint: str | None = None
    note: str | None = None
    skipped: bool = False

    @property
    def outcome(self) -> str:
        """One of the words ok, fault and skipped."""
        return "fault" if self.fault else "skipped" if self.skipped else "ok"


class CheckSkipped(Exception):
    """A check cannot run here; the message says what it lacks."""


class CheckFailed(Exception):
    """A check found a fault; `hint` says how to fix it."""

    def __init__(self, what: str, hint: str):
        super().__init__(what)
        self.hint = hint


def require_docstring(cls: type) -> None:
    """Raises CheckFailed for a class without a docstring of its own."""
    if not (cls.__doc__ or "").strip():
        raise CheckFailed(
            "its class has no docstring",
            "state in the first line what it does or measures: lists and reports show that line",
        )


def run_checks(checks: Sequence[Check], needed: Sequence[Check]) -> Iterator[CheckResult]:
    """Yields the result of each check as it ends.

    Stops after a fault in one of the `needed` checks. The first line of a check's docstring is its name. A check
    raises an exception for a fault, CheckSkipped where it cannot run, and may return a note.
    """
    for check in checks:
        result = _result(check)
        yield result
        if result.fault and check in needed:
            return


def _result(check: Check) -> CheckResult:
    name = (check.__doc__ or "").partition("\n")[0].rstrip(".")
    try:
        return CheckResult(name, note=check())
    except CheckSkipped as skipped:
        return CheckResult(name, note=str(skipped), skipped=True)
    except CheckFailed as failed:
        return CheckResult(name, str(failed), failed.hint)
    except RilError as error:
        return CheckResult(name, "; ".join(filter(None, [error.what, error.where])), error.hint)
    except (KeyboardInterrupt, DeadlineError):
        raise
    except SystemExit as error:
        return CheckResult(
            name, f"it ends the process{_place(error)}", "remove the exit; raise an error instead"
        )
    except BaseException as error:  # of the author's own kind, too
        place = _place(error)
        hint = "look at the line that is named" if place else NOWHERE
        return CheckResult(name, f"{text_of(error)}{place}", hint)


def _place(error: BaseException) -> str:
    """The last line in the author's own file that the traceback of an exception names."""
    line = line_of_others(error)
    return f" ({Path(line).name})" if line else ""
