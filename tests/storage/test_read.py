"""The reader of run folders, for complete, missing and damaged files."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from ril_bench.errors import UserError
from ril_bench.storage import names
from ril_bench.storage.read import StoredRun, read_run
from ril_bench.storage.run_folder import RunFolder, csv_bytes


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """The folder of a run that has begun. Its only file is run.json."""
    folder = RunFolder(tmp_path / "run")
    folder.update_run(schema_version=1, status="running")
    return folder


def test_a_run_that_has_just_begun_has_empty_values_and_no_scores(folder: RunFolder) -> None:
    run = read_run(folder.path)
    assert (run.metrics, run.prompts, run.log, run.matrix, run.images, run.error) == ({}, {}, [], [], {}, {})
    assert run.anytime_scores is None
    assert run.reward_matrix.empty
    with pytest.raises(UserError, match="no scores yet") as caught:
        _ = run.scores
    assert caught.value.where == str(folder.path)


def test_the_matrix_reads_back_to_the_bit_also_where_a_reward_comes_twice(folder: RunFolder) -> None:
    table = pd.DataFrame(
        [[0.1 + 0.2, 1e-300, -0.0], [1 / 3, math.nan, 2.0]],
        columns=["brightness", "brightness", "symmetry"],
        index=pd.Index([0, 1], name="step"),
    )
    folder.write_bytes(names.MATRIX, csv_bytes(table))
    run = StoredRun(folder.path)
    pd.testing.assert_frame_equal(run.reward_matrix, table, check_exact=True)
    assert run.matrix[1] == [1 / 3, None, 2.0]
    assert (run.columns, run.steps) == (["brightness", "brightness", "symmetry"], [0, 1])


def test_a_last_line_of_the_log_that_ends_within_a_character_is_left_out(folder: RunFolder) -> None:
    folder.append_log({"task": 1, "reward": "é"})
    whole = (folder.path / names.LOG).read_bytes()
    (folder.path / names.LOG).write_bytes(whole + whole[: whole.index(b"\xc3") + 1])
    assert StoredRun(folder.path).log == [{"task": 1, "reward": "é"}]


def test_images_are_found_by_step_prompt_and_sample(folder: RunFolder) -> None:
    files = {
        "step-2/images/a-b-1.png",
        "step-10/images/000-0.png",
        "step-x/images/000-0.png",
        "step-2/images/no.png",
    }
    folder.write_all(dict.fromkeys(files, b""))
    assert StoredRun(folder.path).images == {
        2: {("a-b", 1): folder.path / "step-2/images/a-b-1.png"},
        10: {("000", 0): folder.path / "step-10/images/000-0.png"},
    }


@pytest.mark.parametrize(
    ("file", "read"),
    [(names.METRICS, "metrics"), (names.SCORES, "scores"), (names.ANYTIME, "anytime_scores")],
)
def test_a_damaged_file_is_named_with_the_way_to_repair_it(folder: RunFolder, file: str, read: str) -> None:
    folder.write_bytes(file, b"\xff")
    with pytest.raises(UserError, match="cannot be read") as caught:
        getattr(StoredRun(folder.path), read)
    assert caught.value.where == str(folder.path / file)
    repair = f"ril-bench score {folder.path}" if file == names.METRICS else "delete the folder"
    assert repair in (caught.value.hint or "")


def test_a_run_of_another_version_is_refused(folder: RunFolder) -> None:
    folder.update_run(schema_version=2)
    with pytest.raises(UserError, match="schema_version 2, not 1"):
        read_run(folder.path)
