"""A run in the world `real`, from YAML to metrics.json, with published rewards."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ril_bench.errors import UserError
from ril_bench.rewards import hps, imagereward
from ril_bench.storage import names
from ril_bench.storage.run_folder import RunFolder
from tests.rewards.published import Published
from tests.tiny import runner, write_sequence

TASKS = [{"reward": "imagereward"}, {"reward": "hpsv2.1"}]


@pytest.fixture
def sequence(tiny_data: dict[str, Any], tmp_path: Path) -> str:
    evaluation = {**tiny_data["evaluation"], "probes": ["clip_score", "aesthetic"]}
    changes = {"tasks": TASKS, "evaluation": evaluation, "budget": {"updates": 1, "batch": 2}}
    return write_sequence(tmp_path / "real.yaml", tiny_data, **changes)


def test_a_run_with_published_rewards(sequence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = Published(monkeypatch, tmp_path / "weights")
    for make in (published.imagereward, published.hpsv21, published.clip_score, published.aesthetic):
        make()
    # the run records the files that rewards declare: here small files instead of the published ones
    monkeypatch.setattr(imagereward.Imagereward, "weights", (imagereward.WEIGHTS, imagereward.VOCABULARY))
    monkeypatch.setattr(hps.Hpsv21, "weights", (hps.Hpsv21.file,))
    for kind in (published.clip_score, published.aesthetic):
        reward = type(kind())
        monkeypatch.setattr(reward, "weights", tuple(replace(file, sha256=None) for file in reward.weights))
    folder = RunFolder(runner(sequence, tmp_path / "out").execute())
    metrics = json.loads((folder.path / names.METRICS).read_text())
    assert metrics["rewards"] == ["imagereward", "hpsv2.1"]
    assert metrics["units"] == {
        "imagereward": "sd",
        "hpsv2.1": "cosine",
        "clip_score": "100 cos",
        "aesthetic": "rating 1-10",
    }
    # Inception, DINOv2, AlexNet
    assert sum("is not on this machine" in note for note in metrics["notes"]) == 3
    recorded = folder.read_run()["weights"]
    on_disk = {
        f"xswu/HPSv2/{hps.Hpsv21.file.file}": tmp_path / "weights/xswu/HPSv2/HPS_v2.1_compressed.pt",
        "THUDM/ImageReward/ImageReward.pt": tmp_path / "weights/THUDM/ImageReward/ImageReward.pt",
    }
    for name, path in on_disk.items():
        assert recorded[name] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_missing_weights_stop_a_run_at_its_start(sequence: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="imagereward is not on this machine, and downloads are off"
    ) as caught:
        runner(sequence, tmp_path / "out").execute()
    assert "$RIL_BENCH_WEIGHTS" in str(caught.value.hint)
