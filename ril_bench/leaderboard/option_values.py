"""The values of options in run.json: those that the method and the tuners of the sequence give, and no others."""

from __future__ import annotations

from collections.abc import Iterator

from ril_bench.errors import UserError
from ril_bench.leaderboard.entry import Entry
from ril_bench.leaderboard.method_names import shipped_digest
from ril_bench.running.run_record import tuner_records
from ril_bench.storage import names

AS_WRITTEN = "submit run.json as the run wrote it: ril-bench submit RUN"


def of_method(entry: Entry) -> Iterator[UserError]:
    """The options of a method that ships give the values that run.json states, and have a label if any is given."""
    method = entry.run.method
    if method.file_sha256 is None or method.file_sha256 != shipped_digest(method.name):
        return
    if method.options and method.label is None:
        yield UserError(
            f"{method.name} with the options {method.options!r:.150} has no label, as if they were its defaults",
            where=str(entry.file(names.RUN)),
            hint=AS_WRITTEN,
        )
    try:
        known = entry.shipped.method(method.name)(**method.options).options.model_dump(mode="json")
    except UserError:
        known = None  # an option that the method has not, or a value that it refuses
    if known != entry.raw["method"]["resolved"]:
        yield UserError(
            f"the options {method.options!r:.150} do not give the values written out",
            where=str(entry.file(names.RUN)),
            hint=AS_WRITTEN,
        )


def of_tuners(entry: Entry) -> Iterator[UserError]:
    """The options of each task's tuner in the official sequence give the values that run.json states.

    An option that only the entry or only this version has does not count: one that is added or removed later refuses
    no stored entry. Entries of earlier versions state no values.
    """
    if (stated := entry.run.tuners) is None:
        return
    known = tuner_records(entry.sequence)
    same = [one.name for one in stated] == [one["name"] for one in known] and all(
        own.resolved.get(key, value) == value
        for own, official in zip(stated, known, strict=True)
        for key, value in official["resolved"].items()
    )
    if not same:
        yield UserError(
            "the options of the tuners written out are not those that the sequence gives",
            where=str(entry.file(names.RUN)),
            hint=AS_WRITTEN,
        )
