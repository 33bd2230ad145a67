"""The verb score: it touches no run that is at work and no other folder; a run gets a calibration that came later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ril_bench
from ril_bench.errors import UserError
from ril_bench.running.plan import ordered
from ril_bench.running.run_record import adopt_calibration
from ril_bench.sequences.sequence_file import read_sequence
from ril_bench.storage.locks import locked
from ril_bench.storage.read import read_run
from ril_bench.storage.run_folder import RunFolder
from tests.reporting.synthetic import write_run


def test_metrics_of_a_run_at_work_are_not_replaced(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", prompts=2, pixels=16, updates=1)
    before = (run / "metrics.json").read_bytes()
    with locked(run), pytest.raises(UserError, match="another run is at work here"):
        ril_bench.score(run)
    assert (run / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_holds_no_run_is_left_as_it_is(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "runs" / "typo"
    if there:
        folder.mkdir(parents=True)
    with pytest.raises(UserError, match="not a run folder") as caught:
        ril_bench.score(folder)
    assert caught.value.where == str(folder)
    assert caught.value.hint
    assert list(tmp_path.rglob("*")) == ([folder.parent, folder] if there else [])


ADOPTED = {
    "the same settings": ({}, "given", True),
    "another order": ({}, "reversed", True),
    "another budget": ({"budget.updates": 5}, "given", True),
    "another evaluation": ({"evaluation.prompts": 8}, "given", False),
    "another version": ({"version": 1}, "given", False),
}


@pytest.mark.parametrize(("settings", "order", "adopted"), ADOPTED.values(), ids=ADOPTED)
def test_a_run_that_was_made_before_its_calibration_gets_it(
    tmp_path: Path, settings: dict[str, Any], order: str, adopted: bool
) -> None:
    """A run gets it where a new run of the same settings would have it."""
    run = write_run(tmp_path / "run", prompts=2, pixels=16, updates=1)
    _, sequence = ordered(read_sequence("shapes-ril").resolve(settings), order)
    RunFolder(run).update_run(
        sequence=sequence.model_dump(mode="json"),
        sequence_reference="shapes-ril",
        sequence_sha256=sequence.sha256,
        comparable=True,
        calibration=None,
    )
    adopt_calibration(run)
    recorded = read_run(run).info["calibration"]
    assert (recorded is not None) == adopted
    if adopted:
        assert recorded["content"]["sequence"] == "shapes-ril"
