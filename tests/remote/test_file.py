"""Published files: where they are searched, how they are downloaded, which are refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub
import huggingface_hub.constants as hub
import pytest

from ril_bench.errors import InfrastructureError, UserError
from ril_bench.remote.file import RemoteFile
from ril_bench.remote.search import FOLDER
from ril_bench.remote.weights import digests

CONTENT = b"weights"
ON_HUB = RemoteFile(
    name="mine",
    repo="me/mine",
    file="model.safetensors",
    revision="a" * 40,
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    licence="MIT",
    used_by=("mine",),
)
ELSEWHERE = replace(ON_HUB, repo="https://example.org/files", file="a+b.pth", revision=None)


@pytest.fixture(params=[ON_HUB, ELSEWHERE], ids=["hub", "elsewhere"])
def file(request):
    return request.param


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def in_hub_cache(cache: Path) -> Path:
    """The file in the cache of huggingface_hub."""
    return put(cache / "models--me--mine" / "snapshots" / ("a" * 40) / "model.safetensors")


def test_the_address():
    assert ON_HUB.url == f"https://huggingface.co/me/mine/resolve/{'a' * 40}/model.safetensors"
    assert (
        replace(ON_HUB, revision=None).url == "https://huggingface.co/me/mine/resolve/main/model.safetensors"
    )
    assert ELSEWHERE.url == "https://example.org/files/a%2Bb.pth"
    assert replace(ELSEWHERE, revision="f00").url == "https://example.org/files/f00/a%2Bb.pth"
    data = replace(ON_HUB, repo="datasets/me/mine")
    assert data.url.startswith("https://huggingface.co/datasets/me/mine/resolve/aaaa")
    assert data._on_hub["repo_id"] == "me/mine"


def test_a_file_that_is_nowhere_is_refused_with_a_hint(file, folder):
    assert file.cached_path() is None
    with pytest.raises(UserError, match="mine is not on this machine, and downloads are off") as caught:
        file.fetch(offline=True)
    assert caught.value.where == file.url
    name = "me/mine/model.safetensors" if file.on_hub else "a+b.pth"
    assert f"as {name} and name that folder in $RIL_BENCH_WEIGHTS" in caught.value.hint
    with pytest.raises(UserError, match="downloads are off"):  # HF_HUB_OFFLINE forbids downloads too
        file.fetch()


def test_the_folder_of_the_user_comes_first(file, folder, monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    cached = in_hub_cache(tmp_path / "hub")
    assert ON_HUB.fetch(offline=True) == cached
    plain = put(folder / file.file)
    assert file.cached_path() == plain
    if file.on_hub:  # the full name comes first, because several repositories have a model.safetensors
        full = put(folder / "me/mine/model.safetensors")
        assert file.fetch(offline=True) == full


def test_another_revision_in_the_cache_is_another_file(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    in_hub_cache(tmp_path)
    assert replace(ON_HUB, revision="b" * 40).cached_path() is None


def test_a_file_of_another_digest_is_refused(file, folder):
    path = put(folder / file.file, b"other")
    with pytest.raises(UserError, match="this is not mine: its digest is d9298a10d1b0") as caught:
        file.fetch(offline=True)
    assert caught.value.where == str(path)
    assert file.url in caught.value.hint


def test_the_digest_of_an_unpinned_file_is_recorded(folder):
    file = replace(ON_HUB, sha256=None)
    assert not file.pinned
    put(folder / file.file, b"other")
    assert digests(file) == {"me/mine/model.safetensors": hashlib.sha256(b"other").hexdigest()}


def test_a_hub_file_is_downloaded_once_and_checked(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    requests = []

    def download(**what):
        requests.append(what)
        return str(in_hub_cache(tmp_path))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    path = ON_HUB.fetch()
    assert path.read_bytes() == CONTENT
    assert ON_HUB.fetch() == path
    request = {
        "repo_id": "me/mine",
        "filename": "model.safetensors",
        "revision": "a" * 40,
        "repo_type": "model",
    }
    assert requests == [request]


@pytest.fixture
def site(tmp_path):
    """A web server on this machine: its address and its folder."""
    folder = tmp_path / "site"
    folder.mkdir()
    serve = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def test_a_plain_address_gives_the_whole_file_or_none(site, monkeypatch, tmp_path):
    address, folder = site
    cache = tmp_path / "cache"
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("RIL_BENCH_CACHE", str(cache))
    file = replace(ELSEWHERE, repo=address)
    for content in (None, CONTENT[:3]):  # no file; a truncated file
        if content:
            put(folder / "a+b.pth", content)
        with pytest.raises(InfrastructureError, match="mine could not be downloaded") as caught:
            file.fetch()
        assert caught.value.where == file.url
        assert FOLDER in caught.value.hint
        assert [path for path in cache.rglob("*") if path.is_file()] == []
    put(folder / "a+b.pth", b"other")
    with pytest.raises(InfrastructureError, match="hash"):
        file.fetch()
    put(folder / "a+b.pth")
    path = file.fetch()
    assert path.read_bytes() == CONTENT
    assert file.fetch(offline=True) == path


# The hub client tries an address with a known scheme again and again: 20 seconds.
@pytest.mark.parametrize("proxy", ["foo:bar", pytest.param("http://[", marks=pytest.mark.slow), "://"])
def test_a_proxy_that_is_no_address(file, monkeypatch, tmp_path, proxy):
    """The libraries that download raise errors of their own kinds for it."""
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, proxy)
    with pytest.raises(InfrastructureError, match="mine could not be downloaded") as caught:
        file.fetch()
    assert caught.value.where == file.url
    assert FOLDER in caught.value.hint
