"""Records in run.json that are not a part of the plan: method, tuners, calibration, number formats, failure, time."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ril_bench import registry
from ril_bench.errors import RilError, UserError, failure_class, message_of
from ril_bench.machine.compute import PLAIN, Compute
from ril_bench.methods import Method
from ril_bench.running.hooks import author
from ril_bench.running.plan import same_step_zero
from ril_bench.sequences.calibrations import Calibration, load_calibration
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.sequences.spec import Sequence
from ril_bench.storage import names
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.read import read_run
from ril_bench.storage.run_folder import RunFolder


def method_record(identity: dict[str, Any], method: Method) -> dict[str, Any]:
    """The record of a method.

    It has the method's identity in the plan, the first line of its docstring, and the values of all its
    options.
    """
    return {
        **identity,
        "oracle": method.oracle,
        "doc": (type(author(method)).__doc__ or "").strip().partition("\n")[0],
        "resolved": method.options.model_dump(),
    }


def tuner_records(sequence: Sequence) -> list[dict[str, Any]]:
    """The tuner of each task in order: its name, and the values of all its options.

    A later version may have more options, or other defaults: a run states the values that it used. Raises UserError
    for a wrong option.
    """
    return [
        {
            "name": registry.short_name(task.tuner.name),
            "resolved": registry.load("tuner", task.tuner.name)(**task.tuner.options).options.model_dump(
                mode="json"
            ),
        }
        for task in sequence.tasks
    ]


def calibration_record(calibration: Calibration | None) -> dict[str, Any] | None:
    """The calibration with its content, so that the metrics of a stored run need no other file."""
    if calibration is None or calibration.file is None:
        return None
    return {
        "file": calibration.file.name,
        "sha256": sha256_file(calibration.file),
        "content": calibration.model_dump(mode="json"),
    }


def adopt_calibration(folder: Path) -> None:
    """Records the sequence's calibration in a run that has none and began at the calibrated step 0.

    A run may have another order, tuner or budget, as when its calibration is there from the start. Training does not
    depend on it, only the scale of the metrics.
    """
    info = read_run(folder).info
    if info["calibration"] is not None or not info["comparable"]:
        return
    try:
        sequence = load_sequence(info["sequence_reference"])
    except UserError:  # the sequence's file is elsewhere by now
        return
    recorded = Sequence.model_validate(info["sequence"])
    if recorded.version == sequence.version and same_step_zero(recorded, sequence):
        RunFolder(folder).update_run(calibration=calibration_record(load_calibration(sequence)))


def failure_record(error: BaseException) -> dict[str, str | None]:
    """The record of a failure: its class, its message, and the traceback of what caused it.

    Errors that state a fault in words have no traceback.
    """
    of_code = not isinstance(error, RilError) or error.kind in ("method", "reward", "bug")
    trace = "".join(traceback.format_exception(error)) if of_code else None
    return {
        "class": failure_class(error),
        "message": message_of(error),
        "traceback": trace,
    }


def now() -> str:
    """The current time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def same_numerics(requested: Compute | None, recorded: Mapping[str, Any] | None, folder: Path) -> Compute:
    """The number formats with which a run began: those that run.json has `recorded`, or the requested ones.

    Raises UserError where the user requests others than those with which the run in `folder` began.
    """
    compute = requested or (Compute(**recorded) if recorded else PLAIN)
    if recorded and compute.numerics != recorded:
        raise UserError(
            f"this run began in {recorded}, not in {compute.numerics}",
            where=str(folder / names.RUN),
            hint="use the same --compute, or choose another --out",
        )
    return compute
