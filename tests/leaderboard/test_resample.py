"""Images generated again: those of an honest entry agree, and false scores or metrics are found."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from ril_bench.leaderboard.check import ALL, Checker, Number, Verdict, check
from ril_bench.leaderboard.checked import note, noted
from ril_bench.leaderboard.resample import TOLERANCE, positions
from ril_bench.running.provenance import processor
from tests.leaderboard import world
from tests.leaderboard.tampering import edit, entry, seal


def resampled(folder: Path, number: Number, seed: int | None = None) -> Verdict:
    return next(iter(check(folder, checker=Checker(resample=number, seed=seed))))


def test_some_images_of_an_honest_entry_agree(honest: Path) -> None:
    verdict = resampled(entry(honest), 3, seed=5)
    few = verdict.resampled
    assert few is not None
    assert (few.images, few.of, few.steps) == (3, 8, (0, 1, 2))
    assert few.gap < TOLERANCE / 2  # half precision, and other batches
    assert verdict.checker_seed == 5
    assert verdict.level == "stated"  # what was not drawn may be false


@pytest.fixture(scope="module")
def whole(honest: Path, sequences: Path) -> Verdict:
    """The verdict on an honest entry after all of its images were generated again."""
    with pytest.MonkeyPatch.context() as patch:
        world.install(sequences, patch)
        return resampled(entry(honest), ALL)


def test_all_images_verify_an_honest_entry(whole: Verdict) -> None:
    assert whole.faults == ()
    assert whole.resampled is not None
    assert (whole.resampled.images, whole.level) == (8, "resampled")
    assert whole.resampled.gap < TOLERANCE / 2


def test_all_images_give_the_metrics_of_images_of_every_step(board: Path) -> None:
    metrics = json.loads((entry(board) / "metrics.json").read_text())
    metrics["structure"]["steps"][0]["ssim_to_0"] = 0.5
    metrics["fidelity"]["steps"][1]["fid"] /= 2
    metrics["drift"]["steps"][-1]["to_previous"] *= 2
    metrics["fidelity"]["convention"]["n"] = 50_000
    edit(entry(board), "metrics.json", **{key: metrics[key] for key in ("structure", "fidelity", "drift")})
    shutil.copy(entry(board, 1) / "contact.webp", entry(board))
    seal(entry(board))
    assert resampled(entry(board), 3).faults == ()  # too few images for that
    faults = [one.fault.what for one in resampled(entry(board), ALL).faults]
    assert "structure.steps[0].ssim_to_0 is 0.5, not" in faults[0]
    assert "fidelity.steps[1].fid is" in faults[0]
    assert "fidelity.convention.n is 50000" in faults[0]
    assert "drift.steps[1].to_previous is" in faults[0]
    assert "the contact sheet does not show the images of this run" in faults[1]


def test_an_entry_that_breaks_the_computation_is_refused_alone(board: Path) -> None:
    path = entry(board) / "step-1/adapter.safetensors"
    save_file({name: np.full_like(tensor, 1e4) for name, tensor in load_file(path).items()}, path)
    seal(entry(board))
    verdicts = list(check(board, checker=Checker(resample=1)))
    assert [verdict.valid for verdict in verdicts] == [False, True, True, True]
    assert verdicts[0].faults[0].check == "resample"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_a_machine_that_fails_says_nothing_of_an_entry(
    board: Path, whole: Verdict, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    file = board / "checked.json"
    note(file, whole)
    monkeypatch.setattr("ril_bench.leaderboard.resample._gaps", Mock(side_effect=error))
    failed = resampled(entry(board), 1)
    assert not failed.valid
    assert "this machine could not compute it" in failed.faults[0].fault.what
    note(file, failed)
    assert noted(board, whole.place, entry(board)) is not None


@given(st.integers(1, 300), st.integers(1, 400) | st.none(), st.integers(0, 2**32))
def test_positions(total: int, number: int | None, seed: int) -> None:
    found = positions(total, number, seed)
    assert found == sorted(set(found)) == positions(total, number, seed)
    assert len(found) == min(total, total if number is None else number)
    assert set(found) <= set(range(total))


def test_the_checkers_seed_decides_which_images() -> None:
    assert len({tuple(positions(128, 8, seed)) for seed in range(6)}) == 6


def test_a_check_is_recorded_for_exactly_those_files(board: Path, whole: Verdict) -> None:
    folder, file = entry(board), board / "checked.json"
    note(file, whole)
    found = noted(board, whole.place, folder)
    assert found is not None
    assert (found["level"], found["resampled"]["images"]) == ("resampled", 8)
    assert found["checker_seed"] == whole.checker_seed
    assert found["machine"] == processor()
    note(file, replace(whole, resampled=None))  # verified less: the record stays
    assert noted(board, whole.place, folder) == found
    edit(folder, "run.json", device="cuda")
    seal(folder)
    assert noted(board, whole.place, folder) is None
    edit(folder, "run.json", official=False)
    note(file, resampled(folder, 2))
    assert whole.place not in json.loads(file.read_text())


@pytest.mark.parametrize("number", [0])
def test_nothing_is_generated_unless_asked(
    honest: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ril_bench.leaderboard.resample.load_materials", None)
    assert resampled(entry(honest), number).resampled is None
