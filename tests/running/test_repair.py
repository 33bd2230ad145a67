"""Damaged files of a run: none is used silently, and --repair computes what is damaged again."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ril_bench.errors import UserError
from ril_bench.reporting.run_page import write_page
from ril_bench.running.training import Training
from ril_bench.scoring.score import score_run
from ril_bench.storage.read import read_run
from ril_bench.storage.run_folder import RunFolder
from tests.running.stopping import RID, Stopping, log_lines, status
from tests.tiny import UPDATES, results, runner

#: flips of each file; `make flips` tries more
FLIPS = int(os.environ.get("RIL_BENCH_FLIPS", "1"))


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of a complete run, without a page."""
    folder = tmp_path / finished.relative_to(finished.parents[4])
    shutil.copytree(finished, folder)
    (folder / "report.html").unlink(missing_ok=True)
    return folder


def kept(folder: Path) -> list[Path]:
    """The files of a run that a later command may read."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in files if not path.name.startswith(".") and path.suffix != ".html"]


def flips(path: Path, number: int) -> Iterator[None]:
    """Changes one byte of a file at random positions, one after another; the file is whole in the end."""
    whole, rng = path.read_bytes(), random.Random(path.name)
    for _ in range(number):
        changed = bytearray(whole)
        changed[rng.randrange(len(whole))] ^= rng.randrange(1, 256)
        path.write_bytes(changed)
        yield
    path.write_bytes(whole)


def test_no_flip_of_a_complete_run_is_silent(copy: Path, tiny_sequence: str) -> None:
    again = runner(tiny_sequence, copy.parents[4])
    for path in kept(copy):
        for _ in flips(path, FLIPS):
            with pytest.raises(UserError, match=r"damaged|cannot be read") as caught:
                again.execute()
            assert path.name in str(caught.value)
            assert caught.value.hint
    assert again.execute() == copy


def test_no_flip_of_an_interrupted_run_is_silent(tiny_sequence: str, tmp_path: Path) -> None:
    begun = runner(tiny_sequence, tmp_path, reporter=Stopping(UPDATES + 1 + UPDATES), **RID)
    with pytest.raises(KeyboardInterrupt):
        begun.execute()
    folder = begun.folder.path
    before = {path: path.read_bytes() for path in kept(folder)}
    again = runner(tiny_sequence, tmp_path, reporter=Stopping(1), **RID)
    for path in before:
        for _ in flips(path, FLIPS):
            with pytest.raises(UserError, match=r"damaged|cannot be (read|used)") as caught:
                again.execute()
            assert path.name in str(caught.value)
        for changed in before:  # a refused resume may have written its failure
            changed.write_bytes(before[changed])


@pytest.mark.parametrize("name", ["step-1/adapter.safetensors", "step-0/images/000-0.png", "scores.parquet"])
def test_damage_is_named_by_all_that_read_a_run(copy: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:-1])
    for reads in (write_page, score_run):
        with pytest.raises(UserError, match=f"a file of this run is damaged: {name} has changed") as caught:
            reads(copy)
        assert "--repair" in str(caught.value.hint)
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        write_page(copy)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("matrix.csv", "reward_matrix"),
        ("scores.parquet", "scores"),
        ("scores.parquet", "error"),
        ("prompts.json", "prompts"),
        ("step-1/drift.parquet", "drift"),
    ],
)
def test_a_table_is_compared_with_its_digest_before_it_is_read(copy: Path, name: str, read: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes() + b"\n")  # still a table, if it is text
    with pytest.raises(UserError, match=f"a file of this run is damaged: {name} has changed"):
        getattr(read_run(copy), read)


@pytest.mark.parametrize(
    "names",
    [
        ["step-0/images/000-0.png", "step-0/scores.parquet"],
        ["step-1/images/001-1.png", "matrix.csv", "prompts.json"],
        ["metrics.json"],
        ["step-1/adapter.safetensors"],
    ],
)
def test_repair_gives_the_same_bytes(
    copy: Path, finished: Path, tiny_sequence: str, names: list[str]
) -> None:
    for name in names:
        (copy / name).write_bytes(b"\0" + (copy / name).read_bytes())
    repaired = runner(tiny_sequence, copy.parents[4], repair=True).execute()
    assert results(repaired) == results(finished)
    assert (repaired / "prompts.json").read_bytes() == (finished / "prompts.json").read_bytes()
    assert status(repaired)["status"] == "complete"
    assert [step["training_calls"] for step in status(repaired)["steps"]] == [
        step["training_calls"] for step in status(finished)["steps"]
    ]
    assert runner(tiny_sequence, copy.parents[4]).execute() == copy


def test_repair_of_a_log_keeps_the_other_lines(copy: Path, tiny_sequence: str) -> None:
    before = log_lines(copy)
    data = (copy / "log.jsonl").read_bytes()
    (copy / "log.jsonl").write_bytes(data.replace(b'"update": 1', b'"update": 7', 1))
    runner(tiny_sequence, copy.parents[4], repair=True).execute()
    assert log_lines(copy) == before[:1] + before[2:]
    assert status(copy)["log_lines_lost"] == 1
    assert runner(tiny_sequence, copy.parents[4]).execute() == copy


LOGS = {
    "cut in its last line": lambda data: data[:-30],
    "without its last newline": lambda data: data[:-1],
    "without a line": lambda data: b"".join(data.splitlines(keepends=True)[1:]),
    "with a line twice": lambda data: data + data.splitlines(keepends=True)[-1],
    "with an empty line": lambda data: b"\n" + data,
    "empty": lambda data: b"",
    "missing": lambda data: None,
}


@pytest.mark.parametrize("kind", LOGS)
def test_repair_of_a_log_trains_nothing(
    copy: Path, finished: Path, tiny_sequence: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, before = copy / "log.jsonl", log_lines(copy)
    data = LOGS[kind](log.read_bytes())
    log.unlink() if data is None else log.write_bytes(data)
    with pytest.raises(UserError, match=r"log\.jsonl"):
        runner(tiny_sequence, copy.parents[4]).execute()
    monkeypatch.setattr(Training, "run", None)  # a training would fail
    runner(tiny_sequence, copy.parents[4], repair=True).execute()
    assert results(copy) == results(finished)
    assert status(copy)["status"] == "complete"
    assert status(copy)["log_lines_lost"] >= 1
    assert all(line in before for line in log_lines(copy))
    assert runner(tiny_sequence, copy.parents[4]).execute() == copy


@pytest.mark.parametrize(
    "name", ["metrics.json", "log.jsonl", "scores.parquet", "step-1/adapter.safetensors"]
)
def test_a_complete_run_without_one_of_its_files_is_damaged(
    copy: Path, tiny_sequence: str, name: str
) -> None:
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        runner(tiny_sequence, copy.parents[4]).execute()
    if name == "metrics.json":
        with pytest.raises(UserError, match=f"{name} is missing"):
            _ = read_run(copy).metrics
    runner(tiny_sequence, copy.parents[4], repair=True).execute()
    assert runner(tiny_sequence, copy.parents[4]).execute() == copy


def test_images_that_are_not_of_the_run_are_named(copy: Path) -> None:
    image = (copy / "step-1/images/000-0.png").read_bytes()
    (copy / "step-1/images/._000-0.png").write_bytes(b"of macOS")
    score_run(copy)
    (copy / "step-1/images/099-0.png").write_bytes(image)
    with pytest.raises(UserError, match=r"099-0\.png is not in all of them") as caught:
        score_run(copy)
    assert "move images away" in str(caught.value.hint)


def test_a_log_that_lost_lines_before_a_resume(tiny_sequence: str, tmp_path: Path) -> None:
    begun = runner(tiny_sequence, tmp_path, reporter=Stopping(UPDATES + 1 + UPDATES), **RID)
    with pytest.raises(KeyboardInterrupt):
        begun.execute()
    log = begun.folder.path / "log.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match="lacks lines of earlier updates"):
        runner(tiny_sequence, tmp_path, **RID).execute()
    assert runner(tiny_sequence, tmp_path, repair=True, **RID).execute() == begun.folder.path


def test_a_kill_around_a_table_leaves_no_damage(
    tiny_sequence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables are replaced at each step: the old and the new one are both known while one is written."""
    write, written = RunFolder.write_all, []

    def killed(self: RunFolder, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            write(self, {name: data})
            written.append(name)
            if name == "scores.parquet" and written.count(name) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "write_all", killed)
    begun = runner(tiny_sequence, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        begun.execute()
    monkeypatch.undo()
    write_page(begun.folder.path)
    assert runner(tiny_sequence, tmp_path).execute() == begun.folder.path
