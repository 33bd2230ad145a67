"""Row 0 is compared with the calibration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ril_bench.errors import UserError
from ril_bench.running import provenance
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.files import to_json
from tests.running.stopping import failed_run
from tests.tiny import runner, write_sequence


def calibrated(folder: Path, data: dict[str, Any], finished: Path, off: float) -> str:
    """A sequence with a calibration that differs from row 0 by `off` sigma for symmetry."""
    folder.mkdir()
    scores = pd.read_parquet(finished / "scores.parquet").query("step == 0")
    rewards = {}
    for name, rows in scores.groupby("reward"):
        sigma = float(rows.groupby("prompt_id")["score"].mean().std())
        b = float(rows["score"].mean()) + (off * sigma if name == "symmetry" else 0)
        rewards[name] = {
            "direction": 1,
            "unit": "grey levels",
            "b": b,
            "u": b + sigma,
            "sigma": sigma,
            "se": 0.0,
        }
        rewards[name]["seeds"] = [b + sigma] * 3
    content = {
        "sequence": "tiny",
        "version": 1,
        "made_with": {"cpu": provenance.processor()},
        "rewards": rewards,
    }
    (folder / "tiny.calibration.json").write_text(to_json(content))
    return write_sequence(folder / "tiny.yaml", data)


def test_a_row_0_off_the_calibration_fails(finished, tiny_data, tmp_path):
    sequence = calibrated(tmp_path / "off", tiny_data, finished, off=0.06)
    _, run, message = failed_run(sequence, tmp_path / "out", UserError)
    assert "row 0 is off the sequence's calibration by more than 0.05 sigma: symmetry" in message
    assert "brightness" not in message
    assert "ril-bench calibrate" in message
    assert run["failure"]["class"] == "user"


def test_a_row_0_within_tolerance_passes_and_the_calibration_is_kept(finished, tiny_data, tmp_path):
    sequence = calibrated(tmp_path / "near", tiny_data, finished, off=0.04)
    folder = runner(sequence, tmp_path / "out").execute()
    metrics = json.loads((folder / "metrics.json").read_text())
    file = tmp_path / "near" / "tiny.calibration.json"
    assert metrics["calibration"] == {"file": file.name, "sha256": sha256_file(file)}
    assert metrics["continual"]["normalised"]["N"][0][0] == pytest.approx(0, abs=1e-6)
    assert metrics["continual"]["normalised"]["N"][0][1] == pytest.approx(-0.04, abs=1e-4)
    # a run with another step 0 does not use the calibration
    changed = runner(sequence, tmp_path / "out", settings=["sampler.steps=4"])
    assert changed.calibration is None


def test_another_processor_has_a_larger_tolerance(finished, tiny_data, tmp_path, monkeypatch):
    sequence = calibrated(tmp_path / "off", tiny_data, finished, off=0.1)
    monkeypatch.setattr(provenance, "processor", lambda: "another CPU")
    assert runner(sequence, tmp_path / "out", settings=["budget.updates=1"]).execute()


def test_each_trained_step_has_its_drift_from_step_0_and_from_the_step_before(finished):
    first, second = (pd.read_parquet(finished / f"step-{i}" / "drift.parquet") for i in (1, 2))
    for table in (first, second):
        assert list(table) == ["prompt_id", "sample", "to_previous", "to_0"]
        assert len(table) == 6
        assert (table[["to_0", "to_previous"]] > 0).all(axis=None)
    assert first["to_0"].equals(first["to_previous"])
    assert not second["to_0"].equals(second["to_previous"])
    assert not (finished / "step-0" / "drift.parquet").exists()
    block = json.loads((finished / "metrics.json").read_text())["drift"]
    assert block["convention"]["rollouts"] == 6
    for row, table in zip(block["steps"], (first, second), strict=True):
        means = table.groupby("prompt_id")["to_0"].mean()
        assert row["to_0"] == pytest.approx(table["to_0"].mean())
        assert row["to_0_se"] == pytest.approx(means.std() / len(means) ** 0.5)
        assert row["to_previous"] == pytest.approx(table["to_previous"].mean())


def test_without_noise_there_is_no_drift_and_a_note_gives_the_reason(tiny_sequence, tmp_path):
    folder = runner(tiny_sequence, tmp_path, settings=["sampler.eta=0"]).execute()
    assert not list(folder.glob("step-*/drift.parquet"))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["drift"] is None
    assert any(note.startswith("no drift: the sampler has no noise") for note in metrics["notes"])
