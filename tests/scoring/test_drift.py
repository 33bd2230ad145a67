"""Drift of a stored run is the mean of its files; a run without them is still scored."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ril_bench.errors import UserError
from ril_bench.scoring.drift import drift
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.storage.read import StoredRun


@pytest.fixture
def sequence(tiny_sequence):
    return load_sequence(tiny_sequence)


def write(folder: Path, step: int, rows: list[tuple[str, int, float, float]]) -> None:
    (folder / f"step-{step}").mkdir(parents=True)
    table = pd.DataFrame(rows, columns=["prompt_id", "sample", "to_0", "to_previous"])
    table.to_parquet(folder / f"step-{step}" / "drift.parquet", index=False)


def test_the_mean_and_its_error_over_prompts(tmp_path, sequence):
    write(tmp_path, 10, [("000", 0, 9.0, 5.0), ("001", 0, 9.0, 5.0)])
    write(
        tmp_path, 2, [("000", 0, 1.0, 4.0), ("000", 1, 3.0, 4.0), ("001", 0, 6.0, 4.0), ("001", 1, 8.0, 4.0)]
    )
    notes: list[str] = []
    block = drift(StoredRun(tmp_path), sequence, notes)
    assert block is not None
    assert notes == []
    first, last = block["steps"]
    assert (first["step"], last["step"]) == (2, 10)  # by number, not by name
    assert first["to_0"] == pytest.approx((2 + 7) / 2)
    assert first["to_0_se"] == pytest.approx(2.5)  # of 2 and 7: standard deviation 3.54, over the root of 2
    assert (first["to_previous"], first["to_previous_se"]) == (4.0, 0.0)
    assert block["convention"]["rollouts"] == 4


def test_a_run_of_an_earlier_version_has_none_and_a_note(tmp_path, sequence):
    notes: list[str] = []
    assert drift(StoredRun(tmp_path), sequence, notes) is None
    assert len(notes) == 1
    assert notes[0].startswith("no drift: an earlier version")


def test_a_damaged_file_is_named(tmp_path, sequence):
    write(tmp_path, 1, [("000", 0, 1.0, 1.0)])
    (tmp_path / "step-1" / "drift.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"drift\.parquet cannot be read"):
        drift(StoredRun(tmp_path), sequence, [])
