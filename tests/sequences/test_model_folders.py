"""Models of the hub: found where they lie, refused where they are not what they should be; nothing is downloaded."""

import json
import shutil

import pytest
from huggingface_hub import constants

from ril_bench.errors import UserError
from ril_bench.remote import file as remote
from ril_bench.remote.file import RemoteFile
from ril_bench.sequences import model_folders as hub
from ril_bench.storage.run_folder import sha256_file
from tests.pipelines import stable_diffusion, stable_diffusion_xl

REPO, REVISION = "someone/a-model", "a" * 40
NAME = f"{REPO}@{REVISION}"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A hub's cache of this test's own, and no way out."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv(remote.FOLDER, raising=False)
    return tmp_path / "hub"


@pytest.fixture
def snapshot(cache):
    """The model, as a download leaves it, with files that a pipeline is not loaded from."""
    folder = cache / f"models--{REPO.replace('/', '--')}" / "snapshots" / REVISION
    stable_diffusion().save_pretrained(folder)
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"half")
    (folder / "image.png").write_bytes(b"large")
    return folder


@pytest.fixture
def pinned(snapshot, monkeypatch):
    """The cached model's denoiser and its true digest, pinned; returns a way to pin another one."""

    def pin(sha256):
        file = "unet/diffusion_pytorch_model.safetensors"
        entry = RemoteFile("denoiser", REPO, file, REVISION, sha256, 1, "free", ("model",))
        monkeypatch.setitem(hub.PINNED, REPO, (entry,))

    pin(sha256_file(snapshot / "unet" / "diffusion_pytorch_model.safetensors"))
    return pin


def test_a_cached_model_is_found_by_its_revision(snapshot):
    assert hub.local_folder(NAME) == hub.model_folder(NAME) == snapshot
    assert hub.local_folder(f"{REPO}@{'b' * 40}") is None


@pytest.mark.parametrize("make", [stable_diffusion, stable_diffusion_xl])
def test_a_folder_of_ones_own_comes_first(snapshot, tmp_path, monkeypatch, make):
    make().save_pretrained(tmp_path / "mine" / REPO)
    monkeypatch.setenv(remote.FOLDER, str(tmp_path / "mine"))
    assert hub.model_folder(NAME) == tmp_path / "mine" / REPO


def test_a_path_is_a_folder_as_it_stands(snapshot):
    assert hub.model_folder(str(snapshot)) == snapshot
    assert hub.repository(str(snapshot)) is None
    assert hub.repository(NAME) == (REPO, REVISION)
    assert hub.repository(REPO) == (REPO, None)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "scheduler"])
def test_an_interrupted_download_is_no_model(snapshot, part):
    for file in (snapshot / part).glob("*"):
        if file.name != "config.json":
            file.unlink()
    assert hub.local_folder(NAME) is None


def test_what_is_not_here_is_not_downloaded_offline():
    with pytest.raises(UserError, match="is not on this machine, and downloads are off") as caught:
        hub.model_folder(NAME)
    assert remote.FOLDER in caught.value.hint


def test_the_digests_are_those_of_what_is_loaded(snapshot):
    found = hub.model_digests(NAME, snapshot)
    unet = f"{REPO}/unet/diffusion_pytorch_model.safetensors"
    assert found[unet] == sha256_file(snapshot / "unet" / "diffusion_pytorch_model.safetensors")
    assert {f"{REPO}/model_index.json", f"{REPO}/scheduler/scheduler_config.json"} < set(found)
    assert not [name for name in found if "fp16" in name or "image" in name]


def test_a_pinned_file_must_be_the_one(snapshot, pinned):
    assert hub.model_folder(NAME) == snapshot
    pinned("0" * 64)
    with pytest.raises(UserError, match="this is not the denoiser: its digest is") as caught:
        hub.model_folder(NAME)
    assert caught.value.where == str(snapshot / "unet" / "diffusion_pytorch_model.safetensors")


def test_another_revision_of_a_pinned_model_is_not_held_to_it(snapshot, pinned):
    pinned("0" * 64)
    other = "b" * 40
    shutil.copytree(snapshot, snapshot.with_name(other))
    assert hub.pinned_files(f"{REPO}@{other}") == ()
    assert hub.model_folder(f"{REPO}@{other}") == snapshot.with_name(other)


def test_the_table_is_whole():
    """Every weight file of a pipeline, with a revision and a digest."""
    for repo, files in hub.PINNED.items():
        assert {file.repo for file in files} == {repo}
        assert {file.file.partition("/")[0] for file in files} >= {"unet", "vae", "text_encoder"}
        assert {len(file.revision) for file in files} == {40}
        assert all(len(file.sha256) == 64 and file.size and file.licence for file in files)
        assert len({file.sha256 for file in files}) == len(files)


def test_the_patterns_take_what_diffusers_saves(snapshot):
    """All files but the ones that were put there as decoys."""
    saved = {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()}
    taken = {
        path.relative_to(snapshot).as_posix() for pattern in hub.FILES for path in snapshot.glob(pattern)
    }
    assert saved - taken == {"unet/diffusion_pytorch_model.fp16.safetensors", "image.png"}
    assert json.loads((snapshot / "model_index.json").read_text())["safety_checker"] == [None, None]
