"""The record of a failure in run.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ril_bench.errors import NumericalError, RilError
from ril_bench.running import checkpoints
from ril_bench.running.owners import Owner, attributed
from ril_bench.running.run_record import failure_record
from ril_bench.storage.run_folder import RunFolder


@contextmanager
def recorded_failures(folder: RunFolder, owners: Mapping[Path, Owner]) -> Iterator[None]:
    """Inside, an exception is recorded in run.json, and raised as the error of its owner.

    An interruption by the user is neither a failure nor recorded.

    Args:
        owners: the owner of each file of code.
    """
    try:
        with attributed(owners):
            yield
    except Exception as failure:
        if isinstance(failure, NumericalError) and (file := checkpoints.newest_file(folder)):
            hints = [failure.hint, f"the newest checkpoint, whose weights are finite, is {file}"]
            failure.hint = "; ".join(filter(None, hints))
        with suppress(RilError):  # the cause may be the disk: then it cannot be recorded either
            folder.update_run(status="failed", failure=failure_record(failure))
        raise
