"""The execution of grids: every way to run one gives the same bytes, and a failure stops no other run."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ril_bench import cli
from ril_bench.errors import NumericalError
from ril_bench.running.progress import Reporter
from ril_bench.storage import names
from ril_bench.storage.run_folder import RunFolder
from ril_bench.studies.grid import workers as workers_module
from ril_bench.studies.grid.axes import plans
from ril_bench.studies.grid.grid import Outcome, grid, run_all
from ril_bench.studies.grid.workers import Cell, Machine, make
from tests.studies.small_grid import everything, small
from tests.tiny import forkserver

QUIET = Reporter(quiet=True)

BROKEN = '''
import os, signal
from ril_bench import Method

class Broken(Method):
    """Fails in task 2, in the way that FAIL states."""

    def start_task(self, task, model):
        model.add_adapter(f"{task.index}", seed_key=task.key)
        model.activate({f"{task.index}": 1.0}, train=[f"{task.index}"])
        if task.index == 2:
            FAIL
'''
FAILURES = {
    "memory": "raise MemoryError",
    "infrastructure": "raise OSError(28, 'the disk is full')",
    "method": "raise ValueError('not so')",
    "user": "model.activate({'nobody': 1.0}) if False else self._refuse()\n\n    def _refuse(self):\n"
    "        from ril_bench import UserError\n        raise UserError('this cannot be')",
    "numerical": "self._weights = model.parameters()\n\n    def weight_loss(self):\n"
    "        return float('nan') * self._weights[0].sum() if hasattr(self, '_weights') else None",
    "died": "os.kill(os.getpid(), signal.SIGKILL)",
}


ONE_SEED = {"seeds": [0]}  # 4 runs


@pytest.fixture(scope="module")
def one_after_the_other(tiny_sequence, tmp_path_factory) -> dict[str, bytes]:
    """The bytes of the runs of a grid, each run alone in this process."""
    out = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RIL_BENCH_CACHE", str(out / "cache"))
        for plan in plans(small(tiny_sequence, **ONE_SEED)):
            assert make(Cell(plan), out / "runs", Machine(threads=1, device="cpu")) is None
    return everything(out / "runs")


@pytest.mark.slow
def test_two_shards_give_the_same_bytes(
    tiny_sequence, tmp_path, fresh_cache, in_this_process, one_after_the_other
):
    for part in ("1/2", "2/2"):
        outcomes = grid(small(tiny_sequence, **ONE_SEED), tmp_path, shard=part, reporter=QUIET)
        assert [outcome.failure for outcome in outcomes] == [None] * 2
    assert everything(tmp_path) == one_after_the_other
    assert len(list(tmp_path.rglob(names.PAGE))) == 4


@pytest.mark.slow
def test_a_grid_that_is_killed_and_started_again_gives_the_same_bytes(
    tiny_sequence, tmp_path, fresh_cache, in_this_process, one_after_the_other
):
    process = forkserver().Process(target=_two_jobs, args=(tiny_sequence, tmp_path / "out"))
    process.start()
    while sum('"complete"' in file.read_text() for file in (tmp_path / "out").rglob("run.json")) < 1:
        assert process.is_alive()
        time.sleep(0.05)
    workers = [int(pid) for pid in (tmp_path / "workers").read_text().split()]
    process.kill()
    process.join()
    assert len(workers) == 2
    deadline = time.monotonic() + 10
    while any(map(_alive, workers)):  # the workers end with their parent
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("run.json") if _complete(file)}
    assert len(done) < 4
    outcomes = grid(small(tiny_sequence, **ONE_SEED), tmp_path / "out", reporter=QUIET)
    assert [outcome.failure for outcome in outcomes] == [None] * 4
    assert everything(tmp_path / "out") == one_after_the_other
    assert {file: file.stat().st_mtime_ns for file in done} == done  # complete runs are not repeated


def broken(folder: Path, kind: str) -> str:
    """The file of a method that fails in task 2."""
    (folder / f"{kind}.py").write_text(BROKEN.replace("FAIL", FAILURES[kind]))
    return str(folder / f"{kind}.py")


def failed(outcomes: list[Outcome], kind: str, expected: str) -> tuple[str, dict[str, Any]]:
    """The message and the run.json of the run that failed. No other run did."""
    by_method = {outcome.folder.parts[-3]: outcome for outcome in outcomes}
    failure, run = by_method[kind].failure, RunFolder(by_method[kind].folder).read_run()
    assert failure is not None
    assert (failure.kind, run["status"], run["failure"]["class"]) == (expected, "failed", expected)
    assert [entry["step"] for entry in run["steps"]] == [0, 1]  # completed steps stay
    assert [name for name, outcome in by_method.items() if outcome.failure] == [kind]
    return failure.message, run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("memory", ""),
        ("infrastructure", "the disk is full"),
        ("method", "not so"),
        ("user", "this cannot be"),
        ("numerical", ""),
    ],
)
def test_a_failure_is_recorded_with_its_class_and_stops_no_other_run(
    tiny_sequence, tmp_path, in_this_process, kind, part
):
    spec = small(tiny_sequence, methods=[broken(tmp_path, kind), "naive"], orders=["given"], **ONE_SEED)
    message, run = failed(grid(spec, tmp_path / "out", reporter=QUIET), kind, kind)
    assert part in message
    if kind == "method":
        assert "ValueError" in run["failure"]["traceback"]


@pytest.mark.slow
def test_where_all_runs_are_needed_the_others_complete_before_the_first_failure_is_raised(
    tiny_sequence, tmp_path, in_this_process
):
    out, methods = tmp_path / "out", [broken(tmp_path, "numerical"), broken(tmp_path, "memory"), "naive"]
    spec = small(tiny_sequence, methods=methods, orders=["given"], **ONE_SEED)
    with pytest.raises(NumericalError) as caught:
        run_all(spec, out, reporter=QUIET)
    assert "/numerical/" in str(caught.value.where)
    found = {file.parent.parts[-3]: RunFolder(file.parent).read_run() for file in out.rglob("run.json")}
    assert {name: run["status"] for name, run in found.items()} == {
        "numerical": "failed",
        "memory": "failed",
        "naive": "complete",
    }
    only = small(tiny_sequence, methods=["naive"], orders=["given"], **ONE_SEED)
    assert [folder.parts[-3] for folder in run_all(only, out, reporter=QUIET)] == ["naive"]


@pytest.mark.slow
def test_two_jobs_give_the_same_bytes_and_a_process_that_dies_stops_no_other_run(
    tiny_sequence, tmp_path, fresh_cache, one_after_the_other, monkeypatch
):
    monkeypatch.setattr(workers_module, "_SPAWN", forkserver())
    out, methods = tmp_path / "out", [broken(tmp_path, "died"), "naive", "rid"]
    spec = small(tiny_sequence, methods=methods, orders=["given"], **ONE_SEED)
    message, _ = failed(grid(spec, out, jobs=2, reporter=QUIET), "died", "infrastructure")
    assert "too little memory" in message
    complete = {name: data for name, data in everything(out).items() if "died" not in name}
    assert complete == {name: data for name, data in one_after_the_other.items() if "/given/" in name}


def test_the_command_prints_json_and_has_an_exit_code(
    tiny_sequence, tmp_path, in_this_process, monkeypatch, capsys
):
    command = ["ril-bench", "grid", "--sequence", tiny_sequence, "-m", "naive", "-m",
               broken(tmp_path, "memory"), "--out", str(tmp_path / "out"), "--json"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    outcomes = json.loads(capsys.readouterr().out)
    assert [outcome["failure"] and outcome["failure"]["kind"] for outcome in outcomes] == [None, "memory"]


def _complete(file: Path) -> bool:
    return json.loads(file.read_text())["status"] == "complete"


def _two_jobs(sequence: str, out: Path) -> None:
    """A grid with two jobs, as the body of a process; the file `workers` beside `out` lists their processes."""
    os.environ["RIL_BENCH_CACHE"] = str(out.parent / "cache")
    workers_module._SPAWN = multiprocessing.get_context("fork")  # this process has computed nothing yet
    begin, pids = workers_module._Lane.begin, []

    def noted(lane: Any, cell: Cell, to: Path) -> None:
        pids.append(lane._process.pid)
        (out.parent / "workers").write_text(" ".join(map(str, dict.fromkeys(pids))))
        begin(lane, cell, to)

    workers_module._Lane.begin = noted
    grid(small(sequence, **ONE_SEED), out, jobs=2, reporter=QUIET)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
