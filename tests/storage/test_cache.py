"""The cache: keys, failures, and processes that ask at the same time."""

from __future__ import annotations

import multiprocessing
import pwd
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ril_bench.errors import UserError
from ril_bench.storage.cache import cache_folder, cached, read, write

FILES = {"images/000-0.png": b"image", "scores.parquet": b"scores"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def never():
    raise AssertionError("computed again")


def test_files_are_stored_only_for_their_key(folder):
    assert cached("step-0", {"seed": 1}, lambda: FILES) == FILES
    assert cached("step-0", {"seed": 1}, never) == FILES
    assert cached("step-0", {"seed": 2}, lambda: {"other": b""}) == {"other": b""}
    assert cached("step-1", {"seed": 1}, lambda: {"other": b""}) == {"other": b""}
    hidden = [path.name for path in folder.rglob(".*")]
    assert all(name.endswith(".lock") for name in hidden)  # nothing half-written stays


def test_the_order_of_a_key_does_not_matter(folder):
    cached("x", {"a": 1, "b": [2.0]}, lambda: FILES)
    assert cached("x", {"b": [2.0], "a": 1}, never) == FILES


def test_a_failed_computation_is_not_stored(folder):
    with pytest.raises(ZeroDivisionError):
        cached("x", {}, lambda: 1 / 0)
    assert cached("x", {}, lambda: FILES) == FILES


def test_the_place_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RIL_BENCH_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("RIL_BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "ril-bench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "ril-bench"


def test_the_error_for_a_user_without_a_home_states_how_to_choose_a_folder(monkeypatch):
    """This happens in a container that runs under an unknown user id."""
    for name in ("RIL_BENCH_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown_user)
    with pytest.raises(UserError, match="no home folder") as caught:
        cache_folder()
    assert "set RIL_BENCH_CACHE to a folder" in caught.value.hint


def unknown_user(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")


def test_a_cache_that_cannot_be_written_raises_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "file" / "cache"))
    assert cached("x", {}, lambda: FILES) == FILES
    assert cached("x", {}, lambda: FILES) == FILES


def test_two_threads_that_ask_at_the_same_time_compute_the_files_once(folder):
    computed = []

    def slowly():
        time.sleep(0.2)
        computed.append(1)
        return FILES

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: cached("x", {}, slowly), range(2)))
    assert found == [FILES, FILES]
    assert computed == [1]


def test_files_that_are_stored_first_stay(folder):
    write("x", {}, {"name": b"first"})
    write("x", {}, {"name": b"second"})
    assert read("x", {}) == {"name": b"first"}
    assert read("x", {"other": 1}) is None


def test_many_processes_ask_at_the_same_time(folder):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.starmap(cached, [("x", {}, dict)] * 6) == [{}] * 6


def test_files_that_cannot_be_read_are_computed_again(own_cache, monkeypatch):
    """Such as those of another user who shares the cache, or those that another process deletes at this moment."""
    key = {"unreadable": 1}
    assert cached("kind", key, lambda: {"a": b"1"}) == {"a": b"1"}

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_bytes", refuse)
        assert cached("kind", key, lambda: {"a": b"2"}) == {"a": b"2"}
    assert cached("kind", key, lambda: {"a": b"3"}) == {"a": b"1"}
