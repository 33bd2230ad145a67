"""Studies write beside the user's files or into the current folder, not into a package."""

from __future__ import annotations

from pathlib import Path

import pytest

from ril_bench.errors import UserError
from ril_bench.registry import shipped
from ril_bench.studies.output_files import output_file

NAME = "naive.tuning.json"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_that_ships_is_written_to_the_current_folder():
    assert output_file("method", "naive", NAME, to=None, in_place=False) == Path(NAME)


def test_in_place_replaces_the_shipped_file():
    assert output_file("method", "naive", NAME, to=None, in_place=True) == shipped("baselines") / NAME


def test_the_result_for_a_users_file_is_beside_the_file(here):
    (here / "mine").mkdir()
    (here / "mine/own.yaml").touch()
    found = output_file("sequence", "./mine/own.yaml", "own.calibration.json", to=None, in_place=False)
    assert found.resolve() == here / "mine/own.calibration.json"


def test_the_option_to_may_be_a_file_or_a_folder(here):
    assert output_file("method", "naive", NAME, to=here, in_place=False) == here / NAME
    assert output_file("method", "naive", NAME, to=here / "a/b.json", in_place=False) == here / "a/b.json"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that nobody can write to")
def test_a_place_that_cannot_be_written_fails_at_once():
    with pytest.raises(UserError, match=r"cannot write naive\.tuning\.json") as caught:
        output_file("method", "naive", NAME, to=Path("/proc/naive.tuning.json"), in_place=False)
    assert caught.value.where == "/proc"
    assert "--to" in caught.value.hint
