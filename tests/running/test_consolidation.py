"""A phase without rewards after a task's training: counted, logged, bounded and resumed as training is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ril_bench.storage.read import read_run
from ril_bench.storage.run_folder import RunFolder
from tests.running.stopping import Stopping, go_on_until_done, log_lines
from tests.tiny import UPDATES, results, runner

CALM = '''
"""calm: after each task, a second adapter is pulled to the noise of the pretrained model."""

import torch

from ril_bench import Consolidation, Method, Plan


class Calm(Method):
    """Consolidates every task."""

    class Options(Method.Options):
        updates: float = 1.0
        """Updates of the phase."""

    def bind(self, model):
        self._model, self._starts = model, 0

    def plan(self, tasks, i):
        return Plan(weights={i: 1.0}, consolidation=Consolidation(self.options.updates, calls=2))

    def start_task(self, task, model):
        self._train(f"task-{task.index}", task)

    def start_consolidation(self, task, model):
        self._starts += 1
        self._train(f"calm-{task.index}", task)

    def _train(self, name, task):
        self._model.add_adapter(name, seed_key=task.key)
        self._model.activate({**self._model.active, name: 1.0}, train=[name])

    def prediction_loss(self, prediction):
        if self._model.trained[0].startswith("task"):
            return None
        with torch.no_grad(), self._model.folded({}):
            inputs = (prediction.x_t, prediction.t, prediction.prompts, prediction.guidance)
            eps = self._model.predict(*inputs)
        return (prediction.output - eps).square().mean()

    def state_dict(self):
        return {"starts": self._starts}

    def load_state_dict(self, state):
        self._starts = state["starts"]
'''


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("method") / "calm.py"
    file.write_text(CALM)
    return str(file)


def run(sequence: str, out: Path, method: str, reporter=None, **settings: float) -> RunFolder:
    given = {"budget.updates": UPDATES, **settings}
    folder = runner(
        sequence, out, method, reporter, settings=[f"{key}={value}" for key, value in given.items()]
    ).execute()
    return RunFolder(folder)


@pytest.fixture(scope="module")
def straight(tiny_sequence, calm, tmp_path_factory) -> RunFolder:
    return run(tiny_sequence, tmp_path_factory.mktemp("straight"), calm)


def test_its_updates_follow_those_of_the_task_in_the_log(straight):
    lines = log_lines(straight.path)
    assert [(line["task"], line["update"]) for line in lines] == [
        (i, u) for i in (1, 2) for u in range(2 * UPDATES)
    ]
    names = [line["reward"] for line in lines]
    phases = ["brightness", "consolidation", "symmetry", "consolidation"]
    assert names == [phase for phase in phases for _ in range(UPDATES)]
    for line in lines:
        if line["reward"] == "consolidation":
            assert line["loss"] == 0
            assert line["score"] == -line["penalty"]
    assert all(line["penalty"] > 0 for line in lines if line["reward"] == "consolidation")


def test_the_end_of_the_rewards_is_evaluated_before_it(tiny_sequence, calm, tmp_path):
    """A method may forget most just before it consolidates; the step's own evaluation comes after the phase."""
    folder = run(tiny_sequence, tmp_path, calm, **{"evaluation.every": UPDATES})
    within = read_run(folder.path).anytime_scores
    assert {tuple(row) for row in within[["step", "update"]].to_numpy()} == {(1, UPDATES), (2, UPDATES)}


def test_its_calls_are_counted_as_training_and_no_reward_is_called(straight, tiny_sequence, calm, tmp_path):
    """Per update of two samples, guided: three steps without gradient at most, and two with, and two of the target."""
    without = run(tiny_sequence, tmp_path, calm, **{"method.updates": 0})
    for step in (1, 2):
        entry, other = (each.read_run()["steps"][step] for each in (straight, without))
        assert (entry["updates"], entry["consolidation_updates"]) == (UPDATES, UPDATES)
        assert other["consolidation_updates"] == 0
        counted, plain = (
            Counter({tuple(call): n for *call, n in e["training_calls"]}) for e in (entry, other)
        )
        more = counted - plain
        assert {kind for kind, _, _ in more} == {"denoiser"}
        assert more["denoiser", True, 4] == UPDATES * 2
        assert UPDATES * (2 + 2) <= more["denoiser", False, 4] <= UPDATES * (3 + 2)
        assert entry["reward_calls"] == other["reward_calls"]


def test_a_bound_on_calls_bounds_the_phase_as_it_bounds_the_task(tiny_sequence, calm, tmp_path):
    """A task of 2 updates takes 2 x 16 evaluations; the phase may take half of that again."""
    bounded = run(tiny_sequence, tmp_path, calm, **{"budget.denoiser_forwards": 24, "method.updates": 0.5})
    for entry in bounded.read_run()["steps"][1:]:
        assert entry["updates"] < UPDATES
        assert entry["consolidation_updates"] == 1  # it takes more than half of the bound


@pytest.mark.parametrize("units", [[4, 2, 5], [6, 1]])
def test_an_interrupted_phase_ends_with_the_same_bytes(straight, tiny_sequence, calm, tmp_path, units):
    reporters = [*map(Stopping, units), None]
    path, times = go_on_until_done(
        lambda: runner(
            tiny_sequence, tmp_path, calm, reporters.pop(0), settings=[f"budget.updates={UPDATES}"]
        ),
        KeyboardInterrupt,
    )
    assert times == len(units)
    assert results(path) == results(straight.path)
    assert log_lines(path) == log_lines(straight.path)
    assert path.joinpath("scores.parquet").exists()
