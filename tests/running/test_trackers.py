"""The logs of a tracker, read back with the tracker's own package."""

from __future__ import annotations

import json
import math
from contextlib import suppress

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ril_bench
from ril_bench.errors import UserError
from ril_bench.running.progress import Reporter
from ril_bench.running.trackers import Tracker
from tests.running.stopping import Stopping
from tests.tiny import runner


@pytest.fixture(scope="module")
def folder(tiny_sequence, tmp_path_factory):
    out = tmp_path_factory.mktemp("tracked")
    return ril_bench.run(tiny_sequence, method="naive", out=out, threads=1, tracker="tensorboard", quiet=True)


def test_tensorboard_has_every_update_and_every_row(folder):
    (file,) = (folder.path / "ril-bench").glob("events.out.tfevents*")
    events = EventAccumulator(str(file)).Reload()
    lines = [json.loads(line) for line in (folder.path / "log.jsonl").read_text().splitlines()]
    for task, reward in ((1, "brightness"), (2, "symmetry")):
        of_task = [line for line in lines if line["task"] == task]
        for key in ("score", "loss", "penalty", "grad_norm", "seconds"):
            logged = [event.value for event in events.Scalars(f"task-{task}-{reward}/{key}")]
            assert logged == pytest.approx([line[key] for line in of_task], rel=1e-6)
    assert [event.step for event in events.Scalars("task-2-symmetry/score")] == [3, 4]
    logged = [event.value for event in events.Scalars("matrix/symmetry")]
    assert logged == pytest.approx(folder.matrix["symmetry"].tolist()[1:], rel=1e-6)


def test_a_run_that_is_continued_goes_on_along_the_axis(tiny_sequence, tmp_path):
    for reporter in (Stopping(4), Reporter(quiet=True)):
        run = runner(tiny_sequence, tmp_path, reporter=reporter)
        run.tracker = Tracker("tensorboard", run.folder.path, "run", {})
        with suppress(KeyboardInterrupt):
            run.execute()
    files = (run.folder.path / "ril-bench").glob("events.out.tfevents*")
    events = [EventAccumulator(str(file)).Reload() for file in files]
    steps = {
        task: [e.step for one in events if tag in one.Tags()["scalars"] for e in one.Scalars(tag)]
        for task in (1, 2)
        for tag in [f"task-{task}-{('brightness', 'symmetry')[task - 1]}/score"]
    }
    assert max(steps[1]) < min(steps[2])


def test_a_complete_run_opens_no_tracker(folder, tiny_sequence):
    before = sorted(folder.path.rglob("*"))
    out = folder.path.parents[4]
    ril_bench.run(tiny_sequence, method="naive", out=out, threads=1, tracker="tensorboard", quiet=True)
    assert sorted(folder.path.rglob("*")) == before


def test_an_unknown_tracker_and_one_that_is_not_installed(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="tensorboard, wandb"):
        Tracker("tensorbord", tmp_path, "run", {})
    monkeypatch.setattr("accelerate.utils.is_wandb_available", lambda: False)
    with pytest.raises(UserError, match="pip install wandb"):
        Tracker("wandb", tmp_path, "run", {})


def test_nested_settings_are_logged_as_one_level(tmp_path):
    with Tracker(
        "tensorboard", tmp_path, "run", {"budget": {"updates": 3, "rates": [1, 2]}, "label": None}
    ) as tracker:
        tracker.updated({"task": 1, "reward": "x", "score": math.pi, "loss": 0.0, "penalty": 0.0,
                         "grad_norm": 0.0, "seconds": 0.0})  # fmt: skip
    (file,) = tmp_path.rglob("hparams.yml")
    assert file.read_text().splitlines() == ["budget.rates: '[1, 2]'", "budget.updates: 3", "label: None"]
