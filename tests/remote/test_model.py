"""Models of the hub: where they are found, which files are refused. No download."""

import json
import shutil

import pytest
from huggingface_hub import constants

from ril_bench.errors import UserError
from ril_bench.remote import published
from ril_bench.remote.file import RemoteFile
from ril_bench.remote.model import FILES, HubModel, is_whole, loaded_files, weight_files
from ril_bench.remote.search import FOLDER
from ril_bench.storage.digests import sha256_file
from tests.pipelines import stable_diffusion, stable_diffusion_xl

REPO, REVISION = "someone/a-model", "a" * 40
MODEL = HubModel(REPO, REVISION)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub for each test, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv(FOLDER, raising=False)
    return tmp_path / "hub"


@pytest.fixture
def snapshot(cache):
    """The downloaded model, and two files that no pipeline is loaded from."""
    folder = cache / f"models--{REPO.replace('/', '--')}" / "snapshots" / REVISION
    stable_diffusion().save_pretrained(folder)
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"half")
    (folder / "image.png").write_bytes(b"large")
    return folder


@pytest.fixture
def pinned(snapshot, monkeypatch):
    """Pins the cached denoiser to its digest; returns a function that pins another digest."""

    def pin(sha256):
        file = "unet/diffusion_pytorch_model.safetensors"
        entry = RemoteFile("denoiser", REPO, file, REVISION, sha256, 1, "free", ("model",))
        monkeypatch.setitem(published.MODELS, REPO, (entry,))

    pin(sha256_file(snapshot / "unet" / "diffusion_pytorch_model.safetensors"))
    return pin


def test_a_cached_model_is_found_by_its_revision(snapshot):
    assert MODEL.cached_path() == MODEL.fetch() == snapshot
    assert HubModel(REPO, "b" * 40).cached_path() is None


@pytest.mark.parametrize("pipeline", [stable_diffusion, stable_diffusion_xl])
def test_a_folder_of_the_user_comes_first(snapshot, tmp_path, monkeypatch, pipeline):
    pipeline().save_pretrained(tmp_path / "mine" / REPO)
    monkeypatch.setenv(FOLDER, str(tmp_path / "mine"))
    assert MODEL.fetch() == tmp_path / "mine" / REPO


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "scheduler"])
def test_an_interrupted_download_is_not_taken_for_the_model(snapshot, part):
    for file in (snapshot / part).glob("*"):
        if file.name != "config.json":
            file.unlink()
    assert MODEL.cached_path() is None


def test_offline_nothing_is_downloaded():
    with pytest.raises(UserError, match="is not on this machine, and downloads are off") as caught:
        MODEL.fetch()
    assert FOLDER in caught.value.hint


def test_a_variant_alone_is_named(snapshot):
    for file in snapshot.glob("*/*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    with pytest.raises(
        UserError, match=r"only a part of the model .* \(only the variant fp16\), and downloads are off"
    ):
        MODEL.fetch()


def test_a_pinned_file_must_have_its_digest(snapshot, pinned):
    assert MODEL.fetch() == snapshot
    pinned("0" * 64)
    with pytest.raises(UserError, match="this is not denoiser: its digest is") as caught:
        MODEL.fetch()
    assert caught.value.where == str(snapshot / "unet" / "diffusion_pytorch_model.safetensors")


def test_another_revision_of_a_pinned_model_is_not_pinned(snapshot, pinned):
    pinned("0" * 64)
    other = "b" * 40
    shutil.copytree(snapshot, snapshot.with_name(other))
    assert HubModel(REPO, other).pinned_files == ()
    assert HubModel(REPO, other).fetch() == snapshot.with_name(other)


def test_the_patterns_match_what_diffusers_saves(snapshot):
    """All files of the snapshot except the two that no pipeline is loaded from."""
    saved = {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()}
    taken = {path.relative_to(snapshot).as_posix() for pattern in FILES for path in snapshot.glob(pattern)}
    assert saved - taken == {"unet/diffusion_pytorch_model.fp16.safetensors", "image.png"}
    assert json.loads((snapshot / "model_index.json").read_text())["safety_checker"] == [None, None]


# -- shards and their index ----------------------------------------------------------------------------------


def sharded(part, names):
    """Writes an index that names files; returns it."""
    (part / "model.safetensors").unlink(missing_ok=True)
    index = part / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {f"weight {i}": name for i, name in enumerate(names)}}))
    return index


def test_the_files_are_those_that_the_index_names(snapshot):
    part = snapshot / "text_encoder"
    names = ["a.safetensors", "model-00001-of-00002.safetensors"]
    for name in (*names, "model-00003-of-00003.safetensors"):  # the last one was left by another save
        (part / name).write_bytes(b"")
    index = sharded(part, [*names, names[0]])
    assert weight_files(part) == [part / name for name in names]
    loaded = {file for file in loaded_files(snapshot) if file.parent == part}
    assert loaded == {part / "config.json", index, *(part / name for name in names)}
    assert is_whole(snapshot)


def test_without_an_index_the_file_is_the_libraries_own(snapshot):
    for name in ("other.safetensors", "model-00001-of-00002.safetensors"):
        (snapshot / "text_encoder" / name).write_bytes(b"")
    assert weight_files(snapshot / "text_encoder") == [snapshot / "text_encoder" / "model.safetensors"]


@pytest.mark.parametrize(
    "name",
    [
        "gone.safetensors", "x" * 5000 + ".safetensors", "../unet/diffusion_pytorch_model.safetensors",
        "/etc/model.safetensors", "C:\\model.safetensors", "a/../../model.safetensors", "model.bin", "",
        "a\0.safetensors",
    ],
    ids=lambda name: repr(name[:20]),
)  # fmt: skip
def test_an_index_that_names_no_file_of_its_folder_is_refused(snapshot, name):
    index = sharded(snapshot / "text_encoder", [name])
    with pytest.raises(UserError, match="names") as caught:
        weight_files(snapshot / "text_encoder")
    assert repr(name[:99])[1:-1] in caught.value.what
    assert caught.value.where == str(index)
    assert not is_whole(snapshot)


@pytest.mark.parametrize(
    "content", ["", "3", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', "[" * 10**5]
)
def test_an_index_without_files_is_refused(snapshot, content):
    index = sharded(snapshot / "text_encoder", [])
    index.write_text(content)
    with pytest.raises(UserError, match="this index of weights") as caught:
        weight_files(snapshot / "text_encoder")
    assert caught.value.where == str(index)
    assert not is_whole(snapshot)


@pytest.mark.parametrize("index", [[], 3, {"unet": []}, {"unet": [None, None]}])
def test_an_index_of_another_form_is_no_error(tmp_path, index):
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert is_whole(tmp_path) == isinstance(index, dict)  # it has no part that is loaded
