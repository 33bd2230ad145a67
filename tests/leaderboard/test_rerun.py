"""An honest entry is reproduced to the byte; another file, another seed or other options are not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.leaderboard.check import ALL, Checker, Verdict, check
from ril_bench.leaderboard.checked import note, noted
from tests.leaderboard import world
from tests.leaderboard.tampering import entry

pytestmark = pytest.mark.slow

NAIVE = registry.shipped("baselines") / "naive.py"


@pytest.fixture(scope="module")
def reproduced(honest: Path, sequences: Path) -> Verdict:
    """The verdict on an honest entry that was trained again."""
    with pytest.MonkeyPatch.context() as patch:
        world.install(sequences, patch)
        return next(iter(check(entry(honest), checker=Checker(rerun="shipped"))))


def test_an_honest_entry_is_reproduced_to_the_byte(reproduced: Verdict) -> None:
    assert reproduced.faults == ()
    assert reproduced.retrained is not None
    assert (reproduced.retrained.steps, reproduced.retrained.distance) == ((1, 2), 0)
    assert reproduced.level == "reproduced"


@pytest.mark.parametrize(("gap", "level"), [(5e-4, "reproduced"), (0.05, "resampled"), (0.65, "resampled")])
def test_on_another_processor_a_different_adapter_says_nothing(
    honest: Path, monkeypatch: pytest.MonkeyPatch, gap: float, level: str
) -> None:
    """Measured: .65 of the norm, between an AMD EPYC with torch 2.15.0 and an Intel Xeon with 2.14.1."""
    monkeypatch.setattr("ril_bench.running.provenance.processor", lambda: "Another Processor")
    monkeypatch.setattr("ril_bench.leaderboard.rerun._apart", lambda fresh, stored: gap)
    verdict = next(iter(check(entry(honest), checker=Checker(rerun="shipped"))))
    assert verdict.faults == ()
    assert verdict.level == level
    assert verdict.retrained is not None
    assert (": made on " in str(verdict.retrained)) == (level == "resampled")


@pytest.mark.parametrize("gap", [0.09, 0.65])  # .17 of the step before in the last adapter; another training
def test_on_the_same_processor_a_different_adapter_is_a_fault(
    honest: Path, monkeypatch: pytest.MonkeyPatch, gap: float
) -> None:
    monkeypatch.setattr("ril_bench.leaderboard.rerun._apart", lambda fresh, stored: gap)
    verdict = next(iter(check(entry(honest), checker=Checker(rerun="shipped"))))
    assert [fault.check for fault in verdict.faults] == ["rerun", "rerun"]


def test_a_record_of_more_is_not_lowered_by_a_check_of_less(board: Path, reproduced: Verdict) -> None:
    file = board / "checked.json"
    note(file, reproduced)
    note(file, next(iter(check(entry(board)))))
    found = noted(board, reproduced.place, entry(board))
    assert found is not None
    assert found["level"] == "reproduced"
    assert found["retrained"] == {"steps": [1, 2], "of": 2, "distance": 0, "made_on": None}


def test_one_seed_of_a_method_is_drawn_and_some_steps_are_less(honest: Path, tmp_path: Path) -> None:
    file = shutil.copy(NAIVE, tmp_path / "renamed.py")  # the entry's name counts, not the file's
    verdicts = list(check(honest, checker=Checker(rerun=file, steps=(1,), seed=3)))
    again = [verdict for verdict in verdicts if verdict.retrained]
    assert len(again) == 1
    assert again[0].retrained is not None
    assert again[0].retrained.steps == (1,)
    assert again[0].level == "resampled"
    assert [verdict.level for verdict in verdicts if verdict.entry and not verdict.retrained] == [
        "stated"
    ] * 2


def test_another_file_reproduces_nothing(honest: Path, tmp_path: Path) -> None:
    other = tmp_path / "naive.py"
    other.write_text(NAIVE.read_text() + "\n# changed\n")
    with pytest.raises(UserError, match="no valid entry here was computed with this file"):
        list(check(honest, checker=Checker(rerun=other, rerun_seeds=ALL)))


@pytest.mark.parametrize(
    ("checker", "message"),
    [
        (Checker(rerun="nowhere.py"), "there is no file nowhere.py"),
        (Checker(steps=(1,)), "no method is trained again"),
    ],
)
def test_what_cannot_be_trained_again(honest: Path, checker: Checker, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(check(honest, checker=checker))
