"""`ril-bench check`: recognises what a name or a file stands for, and checks it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ril_bench import registry
from ril_bench.config.yaml_source import read_source
from ril_bench.conformance.suite import CheckResult
from ril_bench.errors import UserError, nearest
from ril_bench.machine.deadline import DeadlineError, deadline
from ril_bench.machine.exits import exits_refused
from ril_bench.storage.files import expanded

#: what can be checked; if several kinds have the same name, the first kind in this list counts
KINDS = ("sequence", "method", "tuner", "reward")
TIMEOUT = 600.0  # seconds; most checks take less than a minute


@dataclass(frozen=True)
class CheckReport:
    """All results of a check.

    Attributes:
        kind: "sequence", "grid", "method", "tuner" or "reward".
    """

    reference: str
    kind: str
    results: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """Whether no check found a fault; notes are not faults."""
        return not any(result.fault for result in self.results)

    @property
    def lines(self) -> list[str]:
        """The report as text: one line for each result, fault, hint and note."""
        return [line for result in self.results for line in lines_of(result)] + [self.verdict]

    @property
    def verdict(self) -> str:
        """The outcome in one line."""
        faults, skipped = (
            sum(bool(getattr(one, kind)) for one in self.results) for kind in ("fault", "skipped")
        )
        outcome = "all checks passed"
        if faults:
            outcome = f"{faults} of {len(self.results)} checks failed"
        elif skipped:
            outcome = f"{len(self.results) - skipped} of {len(self.results)} checks passed, {skipped} skipped"
        return f"{self.kind} {self.reference}: {outcome}"

    def plain(self) -> dict[str, Any]:
        """The report as plain data, for JSON."""
        return asdict(self) | {"ok": self.ok, "results": [asdict(result) for result in self.results]}


def check(
    reference: str,
    *,
    progress: Callable[[CheckResult], None] | None = None,
    timeout: float = TIMEOUT,
) -> CheckReport:
    """Checks a sequence, a grid, a method, a tuner or a reward, by name or by path.

    Runs a method, a tuner or a reward. Checks a sequence as far as this machine has its files; a note names
    each missing file. Takes less than a minute.

    Args:
        progress: is called with each result as soon as the check ends.
        timeout: seconds after which the check stops.

    Raises:
        UserError: nothing has this name, the file holds nothing that can be checked, or the time is over.
    """
    own = str(expanded(reference).resolve()) if registry.is_path(reference) else None
    results: list[CheckResult] = []
    try:
        with deadline(timeout, lambda file: file == own), exits_refused(lambda file: file == own):
            kind = kind_of(reference)
            for result in _results(kind, reference):
                results.append(result)
                if progress is not None:
                    progress(result)
    except DeadlineError as error:
        raise UserError(
            f"{reference} is {error}",
            where=own,
            hint="correct what hangs, or give it more time with --timeout",
        ) from error
    return CheckReport(reference, kind, tuple(results))


def kind_of(reference: str) -> str:
    """What a name or a file is: "sequence", "grid", "method", "tuner" or "reward".

    Raises:
        UserError: nothing has this name, there is no such file, or it holds none of these.
    """
    if registry.is_path(reference):
        path = expanded(reference)
        if not os.path.isfile(path):
            raise UserError(f"there is no file {reference}", where=str(path.absolute()), hint="name a file")
        if path.suffix == ".py":
            return registry.kind_in_file(path)
        data = read_source(path).data
        return "grid" if isinstance(data, dict) and "sequences" in data else "sequence"
    names = {kind: registry.names(kind) for kind in KINDS}
    if found := [kind for kind in KINDS if reference in names[kind]]:
        return found[0]
    known = [name for kind in KINDS for name in names[kind]]
    raise UserError(
        f"no {', '.join(KINDS[:-1])} or {KINDS[-1]} is called {reference!r}",
        hint=f"{nearest(reference, known)} A path begins with ./ or ends in .py or .yaml.",
    )


def lines_of(result: CheckResult) -> list[str]:
    """A result as lines of text.

    The first line is "ok", "fault" or "skipped" and what was checked. The fault, the hint and the note follow.
    """
    lines = [f"{result.outcome:<7} {result.check}"]
    parts = {"": result.fault, "hint: ": result.hint, "note: ": result.note}
    return lines + [
        f"        {prefix}{line}" for prefix, text in parts.items() if text for line in text.splitlines()
    ]


def _results(kind: str, reference: str) -> Iterator[CheckResult]:
    # The imports are local, because each suite imports torch.
    if kind == "method":
        from ril_bench.conformance.method import check_method

        return check_method(reference)
    if kind == "tuner":
        from ril_bench.conformance.tuner import check_tuner

        return check_tuner(reference)
    if kind == "reward":
        from ril_bench.conformance.reward import check_reward

        return check_reward(reference)
    from ril_bench.conformance.sequence import check_grid, check_sequence

    return check_grid(reference) if kind == "grid" else check_sequence(reference)
