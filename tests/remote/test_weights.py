from __future__ import annotations

import json

import pytest

from ril_bench.errors import UserError
from ril_bench.remote.weights import MANIFEST, digests, verified
from ril_bench.storage.digests import sha256_file


@pytest.fixture
def weights(tmp_path):
    """A folder of weights with its manifest."""
    folder = tmp_path / "weights"
    (folder / "pipeline" / "unet").mkdir(parents=True)
    (folder / "head.safetensors").write_bytes(b"head")
    (folder / "pipeline" / "unet" / "model.safetensors").write_bytes(b"unet")
    (folder / "pipeline" / "index.json").write_bytes(b"{}")
    files = ("head.safetensors", "pipeline/unet/model.safetensors", "pipeline/index.json")
    (folder / MANIFEST).write_text(json.dumps({name: sha256_file(folder / name) for name in files}))
    return folder


def test_digests_are_by_path_below_the_parent(weights):
    head = weights / "head.safetensors"
    assert digests(head) == {"head.safetensors": sha256_file(head)}
    unet = "pipeline/unet/model.safetensors"
    assert digests(weights / "pipeline") == {
        "pipeline/index.json": sha256_file(weights / "pipeline/index.json"),
        unet: sha256_file(weights / unet),
    }


def test_unaltered_files_pass(weights):
    for path in (weights / "head.safetensors", weights / "pipeline", weights / "pipeline" / "unet"):
        assert verified(path) == path


@pytest.mark.parametrize("altered", ["head.safetensors", "pipeline/unet/model.safetensors"])
def test_an_altered_file_is_named(weights, altered):
    (weights / altered).write_bytes(b"other")
    top = weights / altered.split("/")[0]
    with pytest.raises(UserError, match="wrong digest") as caught:
        verified(top)
    assert caught.value.where == str(weights / altered)
    assert "install ril-bench again" in caught.value.hint
    untouched = {"head.safetensors", "pipeline"} - {top.name}
    verified(weights / untouched.pop())


@pytest.mark.parametrize("missing", ["head.safetensors", "pipeline"])
def test_a_missing_file_is_named(weights, missing):
    path = weights / missing
    path.rename(weights / "elsewhere")
    with pytest.raises(UserError, match="weights are missing") as caught:
        verified(path)
    assert caught.value.where == str(path)


def test_without_a_manifest_every_file_passes(tmp_path):
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"mine")
    assert verified(file) == file


def test_a_file_that_is_not_in_the_manifest_passes(weights):
    (weights / "pipeline" / "notes.txt").write_text("mine")
    assert verified(weights / "pipeline") == weights / "pipeline"
