"""The model that a sequence names."""

from __future__ import annotations

from pathlib import Path

from ril_bench.remote.model import HubModel
from ril_bench.remote.search import FOLDER
from ril_bench.sequences.model_folders import hub_model, local_folder, model_digests, model_folder
from ril_bench.storage.digests import sha256_file

REVISION = "a" * 40


def test_a_name_of_the_hub_may_have_a_revision():
    assert hub_model(f"someone/a-model@{REVISION}") == HubModel("someone/a-model", REVISION)
    assert hub_model("someone/a-model") == HubModel("someone/a-model", None)
    assert local_folder("someone/a-model") is None


def test_a_path_is_the_folder_itself(tiny_pipeline: Path):
    assert hub_model(str(tiny_pipeline)) is None
    assert local_folder(str(tiny_pipeline)) == model_folder(str(tiny_pipeline)) == tiny_pipeline


def test_the_digests_of_a_hub_model_are_those_of_the_loaded_files(tiny_pipeline, tmp_path, monkeypatch):
    repo = tmp_path / "someone" / "a-model"
    repo.parent.mkdir()
    repo.symlink_to(tiny_pipeline)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    folder = model_folder("someone/a-model")
    assert folder == repo
    found = model_digests("someone/a-model", folder)
    unet = "unet/diffusion_pytorch_model.safetensors"
    assert found[f"someone/a-model/{unet}"] == sha256_file(tiny_pipeline / unet)
    assert {"someone/a-model/model_index.json", "someone/a-model/scheduler/scheduler_config.json"} < set(
        found
    )
