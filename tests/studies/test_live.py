"""The progress of a grid's runs, which other processes execute."""

from __future__ import annotations

import threading

from ril_bench.methods import Method
from ril_bench.running.plan import RunPlan
from ril_bench.running.progress import Reporter
from ril_bench.storage.run_folder import RunFolder
from ril_bench.studies.grid import live
from ril_bench.studies.grid.live import state_of, updates_of
from tests.tiny import runner


def test_the_progress_of_a_run_is_read_from_its_folder(tiny_sequence, tmp_path):
    run = runner(tiny_sequence, tmp_path)
    updates = updates_of(run.plan)
    assert updates == [2, 2]
    assert state_of(run.plan, updates, tmp_path) is None  # not begun
    folder = RunFolder(run.execute())
    assert state_of(run.plan, updates, tmp_path) is None  # complete
    folder.update_run(status="running")
    assert "evaluates the model after symmetry" in state_of(run.plan, updates, tmp_path)
    folder.truncate_log(2, 1)
    assert "trains symmetry, update 1 of 2, reward " in state_of(run.plan, updates, tmp_path)
    folder.truncate_log(1, 0)
    assert "loads, and evaluates the pretrained model" in state_of(run.plan, updates, tmp_path)


def test_watching_builds_the_methods_before_its_thread_starts(tiny_sequence, tmp_path, monkeypatch):
    """A method is built inside a context that changes stdout, stderr and os._exit for the whole process."""
    run = runner(tiny_sequence, tmp_path)
    folder = RunFolder(run.execute())
    folder.update_run(status="running")
    folder.truncate_log(2, 1)
    builders, build, shown = [], RunPlan.build_method, threading.Event()

    def noted(plan: RunPlan) -> Method:
        builders.append(threading.current_thread())
        return build(plan)

    class Bar(Reporter):
        def advance(self, units: int = 1, note: str = "") -> None:
            assert "trains symmetry" in note
            shown.set()

    monkeypatch.setattr(RunPlan, "build_method", noted)
    monkeypatch.setattr(live, "EVERY", 0.01)
    with live.watching([run.plan], tmp_path, Bar(quiet=True)):
        built = len(builders)
        assert shown.wait(30)
    assert len(builders) == built > 0
    assert set(builders) == {threading.main_thread()}
