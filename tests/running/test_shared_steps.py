"""Runs that begin with the same tasks share steps; the bytes are as without sharing."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.running.plan import plan_run
from ril_bench.running.shared_steps import common_steps, shared_steps
from ril_bench.storage.run_folder import RunFolder
from tests.tiny import results, runner, write_sequence

TASKS = [{"reward": name} for name in ("brightness", "symmetry", "compressibility", "incompressibility")]
SETTINGS = ["method.strength=10", "budget.updates=1"]


@pytest.fixture(scope="module")
def four(tiny_data, tmp_path_factory) -> str:
    few = {**tiny_data["evaluation"], "prompts": 2, "images_per_prompt": 1, "scales": [0, 0.5, 0.25, 1]}
    file = tmp_path_factory.mktemp("four") / "four.yaml"
    return write_sequence(file, tiny_data, tasks=TASKS, evaluation=few)


@pytest.fixture(scope="module")
def without_sharing(four, tmp_path_factory) -> Callable[[str], RunFolder]:
    """The run of an order of tasks, alone."""
    return functools.cache(lambda order: executed(four, tmp_path_factory.mktemp("alone"), order))


@pytest.fixture(scope="module")
def stored(four, tmp_path_factory) -> Path:
    """A cache with the first two steps of the order 1-2-3-4."""
    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RIL_BENCH_CACHE", str(folder / "cache"))
        executed(four, folder / "runs", "1-2-3-4", shared=(1, 2))
    return folder / "cache"


@pytest.fixture(autouse=True)
def own_copy(stored, tmp_path, monkeypatch) -> None:
    """A cache that only the test uses."""
    shutil.copytree(stored, tmp_path / "cache")
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))


def executed(sequence: str, out: Path, order: str, shared: tuple[int, ...] = ()) -> RunFolder:
    """A run of RID; a run that adopts its steps also needs its teacher."""
    return RunFolder(runner(sequence, out, "rid", shared=shared, order=order, settings=SETTINGS).execute())


def shared_entries(folder: RunFolder) -> list[int]:
    return [entry["step"] for entry in folder.read_run()["steps"] if entry.get("shared")]


@pytest.mark.parametrize(("order", "adopted"), [("1-3-2-4", [1]), ("1-2-4-3", [1, 2])])
def test_a_run_that_adopts_steps_gives_the_same_bytes(four, tmp_path, without_sharing, order, adopted):
    adopting = executed(four, tmp_path, order, shared=(1, 2))
    assert shared_entries(adopting) == adopted
    alone = without_sharing(order)
    assert results(adopting.path) == results(alone.path)
    assert _without_times(adopting) == _without_times(alone)


def test_steps_that_were_trained_with_other_settings_are_not_adopted(four, tmp_path):
    settings = [*SETTINGS, "budget.batch=3"]
    other = runner(four, tmp_path, "rid", shared=(1,), order="1-3-2-4", settings=settings).execute()
    assert shared_entries(RunFolder(other)) == []


def test_a_kill_while_steps_are_adopted(four, tmp_path, without_sharing, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("ril_bench.running.shared_steps.finish_steps", _killed)
        with pytest.raises(KeyboardInterrupt):
            executed(four, tmp_path, "1-3-2-4", shared=(1,))
    monkeypatch.setattr("ril_bench.storage.cache.read", lambda kind, key: None)  # the cache is now empty
    again = executed(four, tmp_path, "1-3-2-4")
    assert results(again.path) == results(without_sharing("1-3-2-4").path)


@given(st.permutations([1, 2, 3]), st.permutations([1, 2, 3]))
def test_two_orders_share_the_steps_before_their_first_difference(a, b):
    plans = [_plan("-".join(map(str, order))) for order in (a, b)]
    common = next((k for k in range(3) if a[k] != b[k]), 0)  # 0 for equal orders: they are the same run
    assert common_steps(*plans) == common_steps(*plans[::-1]) == common


def test_another_seed_shares_nothing():
    assert common_steps(_plan("1-2-3"), _plan("1-3-2")) == 1
    assert common_steps(_plan("1-2-3"), _plan("1-3-2", seed=1)) == 0
    assert common_steps(_plan("1-2-3"), _plan("1-3-2", method="rid")) == 0


def test_the_steps_a_run_shares_with_any_other():
    plans = [_plan("-".join(map(str, order))) for order in permutations((1, 2, 3))]
    assert [shared_steps(plan, plans) for plan in plans] == [[1]] * 6


def _plan(order: str, sequence: str = "shapes-ril", *, seed: int = 0, method: str = "naive"):
    return plan_run(sequence, method, seed=seed, order=order)


def _killed(*_):
    raise KeyboardInterrupt


def _without_times(folder: RunFolder) -> list[dict]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in folder.read_log()]
