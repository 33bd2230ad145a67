"""Calibrations: where their files are, and which files are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ril_bench.errors import UserError
from ril_bench.sequences.calibrations import load_calibration
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.sequences.spec import Sequence
from tests.tiny import write_sequence

CALIBRATION = {
    "sequence": "mine",
    "version": 3,
    "made_with": {"torch": "2"},
    "rewards": {
        "aesthetic": {
            "direction": 1,
            "unit": "points",
            "b": 4.0,
            "u": 5.0,
            "sigma": 0.5,
            "se": 0.1,
            "seeds": [5.0],
        },
        "attributes": {"direction": 1, "unit": "fraction", "b": 0.9, "u": None, "sigma": 0.1, "se": None},
    },
}


@pytest.fixture
def sequence(tmp_path: Path, tiny_data: dict[str, Any]) -> Sequence:
    return load_sequence(write_sequence(tmp_path / "mine.yaml", tiny_data, name="mine", version=3))


def calibration(folder: Path, text: str = json.dumps(CALIBRATION, indent=1), name: str = "mine") -> Path:
    file = folder / f"{name}.calibration.json"
    file.write_text(text)
    return file


def test_a_calibration_is_beside_its_sequence_and_may_be_shared(
    sequence: Sequence, tmp_path: Path, tiny_data: dict[str, Any]
) -> None:
    shared = {"name": "other", "version": 3, "calibration": "mine"}
    sharing = load_sequence(write_sequence(tmp_path / "other.yaml", tiny_data, **shared))
    assert load_calibration(sequence) is None
    with pytest.raises(UserError, match="missing") as caught:
        load_calibration(sharing)
    assert caught.value.hint == "ril-bench calibrate mine"

    file = calibration(tmp_path)
    for user in (sequence, sharing):
        found = load_calibration(user)
        assert found is not None
        assert found.rewards["aesthetic"].u == 5.0
        assert found.file == file


def test_a_sequence_that_ships_without_a_calibration_uses_one_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("sd15-ril", "shapes-ril"):
        data = CALIBRATION | {"sequence": name, "version": load_sequence(name).version}
        calibration(tmp_path, json.dumps(data), name)
    lacking, official = load_sequence("sd15-ril"), load_sequence("shapes-ril")
    found = load_calibration(lacking)
    assert found is not None
    assert found.file == Path("sd15-ril.calibration.json")
    assert load_calibration(lacking, official=True) is None
    assert load_calibration(official).file != Path("shapes-ril.calibration.json")  # type: ignore[union-attr]


def test_a_calibration_of_another_version_or_with_faults_is_refused(
    sequence: Sequence, tmp_path: Path
) -> None:
    calibration(tmp_path, json.dumps(CALIBRATION | {"version": 2}))
    with pytest.raises(UserError, match="version 2; mine is at 3"):
        load_calibration(sequence)
    text = json.dumps(CALIBRATION, indent=1)
    broken = text.replace('"direction": 1', '"direction": 2', 1).replace("0.5", "-0.5")
    path = calibration(tmp_path, broken)
    with pytest.raises(UserError, match="2 faults") as caught:
        load_calibration(sequence)
    assert f"{path}:9: rewards.aesthetic.direction" in str(caught.value)
