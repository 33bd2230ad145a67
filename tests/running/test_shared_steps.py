"""Runs that begin alike share their first steps, to the same bytes as if each had made its own."""

from __future__ import annotations

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


@pytest.fixture(scope="module")
def four(tiny_data, tmp_path_factory) -> str:
    return write_sequence(tmp_path_factory.mktemp("four") / "four.yaml", tiny_data, tasks=TASKS)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch) -> None:
    """A cache that no other test has filled."""
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))


def made(sequence: str, out: Path, order: str, shared: tuple[int, ...] = ()) -> RunFolder:
    """A run of RID, whose teacher has to come along."""
    return RunFolder(
        runner(sequence, out, "rid", shared=shared, order=order, settings=["method.strength=10"]).execute()
    )


def shared_entries(folder: RunFolder) -> list[int]:
    return [entry["step"] for entry in folder.read_run()["steps"] if entry.get("shared")]


@pytest.mark.parametrize(("first", "second"), [("1-2-3-4", "1-3-2-4"), ("1-2-3-4", "1-2-4-3")])
def test_a_prefix_that_is_taken_over_gives_the_same_bytes(four, tmp_path, first, second):
    by_itself = made(four, tmp_path / "alone", second)
    made(four, tmp_path / "first", first, shared=(1, 2))
    after_it = made(four, tmp_path / "second", second, shared=(1, 2))
    assert shared_entries(after_it) == list(
        range(1, common_steps(*(_plan(o, four) for o in (first, second))) + 1)
    )
    assert results(after_it.path) == results(by_itself.path)
    assert _without_times(after_it) == _without_times(by_itself)


def test_nobody_takes_over_what_was_trained_otherwise(four, tmp_path):
    made(four, tmp_path / "first", "1-3-2-4", shared=(1,))
    settings = ["method.strength=10", "budget.batch=3"]
    other = runner(
        four, tmp_path / "second", "rid", shared=(1,), order="1-2-3-4", settings=settings
    ).execute()
    assert shared_entries(RunFolder(other)) == []


def test_a_kill_in_the_middle_of_a_takeover(four, tmp_path, monkeypatch):
    made(four, tmp_path / "first", "1-3-2-4", shared=(1,))
    by_itself = made(four, tmp_path / "alone", "1-2-3-4")
    with monkeypatch.context() as patch:
        patch.setattr("ril_bench.running.shared_steps.write_tables", _killed)
        with pytest.raises(KeyboardInterrupt):
            made(four, tmp_path / "second", "1-2-3-4", shared=(1,))
    monkeypatch.setattr(
        "ril_bench.storage.cache.read", lambda kind, key: None
    )  # and the cache is gone as well
    assert results(made(four, tmp_path / "second", "1-2-3-4").path) == results(by_itself.path)


@given(st.permutations([1, 2, 3]), st.permutations([1, 2, 3]))
def test_how_much_two_orders_share(a, b):
    plans = [_plan("-".join(map(str, order))) for order in (a, b)]
    alike = next((k for k in range(3) if a[k] != b[k]), 0)  # one run is not two
    assert common_steps(*plans) == common_steps(*plans[::-1]) == alike


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
