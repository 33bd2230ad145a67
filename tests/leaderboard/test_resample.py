"""Images generated again: those of an honest entry agree, and false scores or metrics are found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.leaderboard.check import Verdict, check
from ril_bench.leaderboard.checked import note, noted
from ril_bench.leaderboard.resample import positions
from tests.leaderboard.tampering import edit, entry, seal


def resampled(folder: Path, number: int) -> Verdict:
    return next(iter(check(folder, resample=number)))


def test_an_honest_entry_is_confirmed(honest: Path) -> None:
    few = resampled(entry(honest), 3).resampled
    assert few is not None
    assert (few.images, few.of, few.steps, few.remade) == (3, 8, (0, 1, 2), False)
    assert few.gap < 5e-3  # half precision, and other batches


def test_all_images_give_the_metrics_of_images_too(board: Path) -> None:
    whole = resampled(entry(board), 100)
    assert whole.faults == ()
    assert whole.resampled is not None
    assert (whole.resampled.images, whole.resampled.remade) == (8, True)
    assert whole.resampled.gap < 5e-3  # the evaluation's own batches, and adapters in half precision
    original = (entry(board) / "metrics.json").read_text()
    metrics = json.loads(original)
    metrics["structure"]["steps"][-1]["ssim_to_0"] = 0.99
    metrics["drift"]["steps"][-1]["to_0"] *= 2
    edit(entry(board), "metrics.json", structure=metrics["structure"], drift=metrics["drift"])
    seal(entry(board))
    assert resampled(entry(board), 3).faults == ()  # too few images for that
    (finding,) = resampled(entry(board), 100).faults
    assert "structure.ssim_to_0 is 0.99, not" in finding.fault.what
    assert "drift is" in finding.fault.what
    # an entry of an earlier version states no drift
    metrics = {key: value for key, value in json.loads(original).items() if key != "drift"}
    (entry(board) / "metrics.json").write_text(json.dumps(metrics))
    seal(entry(board))
    assert resampled(entry(board), 100).faults == ()


@given(st.integers(1, 300), st.integers(1, 400), st.text(max_size=5))
def test_positions(total: int, number: int, key: str) -> None:
    found = positions(total, number, key)
    assert found == sorted(set(found)) == positions(total, number, key)
    assert len(found) == min(total, number)
    assert set(found) <= set(range(total))


def test_positions_depend_on_the_entry() -> None:
    assert len({tuple(positions(128, 8, key)) for key in "abcdef"}) == 6


def test_a_check_is_recorded_for_exactly_those_files(board: Path) -> None:
    folder, file = entry(board), board / "checked.json"
    verdict = resampled(folder, 2)
    note(file, [verdict])
    found = noted(board, verdict.place, folder)
    assert found is not None
    assert found["images"] == 2
    edit(folder, "run.json", device="cuda")
    seal(folder)
    assert noted(board, verdict.place, folder) is None
    edit(folder, "run.json", official=False)
    note(file, [resampled(folder, 2)])
    assert verdict.place not in json.loads(file.read_text())


@pytest.mark.parametrize("number", [0])
def test_nothing_is_generated_unless_asked(
    honest: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ril_bench.leaderboard.resample.Materials.load", None)
    assert resampled(entry(honest), number).resampled is None
