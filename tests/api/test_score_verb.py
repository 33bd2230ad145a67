"""The verb score: it touches no run that is at work and no other folder; a run gets a calibration that came later."""

from __future__ import annotations

from pathlib import Path

import pytest

import ril_bench
from ril_bench.errors import UserError
from ril_bench.running.run_record import adopt_calibration
from ril_bench.sequences.sequence_file import load_sequence
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


@pytest.mark.parametrize(("digest", "adopted"), [(None, True), ("0" * 64, False)])
def test_a_run_that_was_made_before_its_calibration_gets_it(
    tmp_path: Path, digest: str | None, adopted: bool
) -> None:
    """Only the calibration of exactly the run's settings: the digest of the sequence must be the same."""
    run = write_run(tmp_path / "run", prompts=2, pixels=16, updates=1)
    sequence = load_sequence("shapes-ril")
    RunFolder(run).update_run(
        sequence_reference="shapes-ril",
        sequence_sha256=digest or sequence.sha256,
        comparable=True,
        calibration=None,
    )
    adopt_calibration(run)
    recorded = read_run(run).info["calibration"]
    assert (recorded is not None) == adopted
    if adopted:
        assert recorded["content"]["sequence"] == "shapes-ril"
