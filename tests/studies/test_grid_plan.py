"""What a grid would run: its axes, cells and shards, and their cost."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.errors import UserError
from ril_bench.running.progress import Reporter
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.storage.run_folder import RunFolder
from ril_bench.studies.grid import forecast as cost
from ril_bench.studies.grid.axes import axes, plans
from ril_bench.studies.grid.cells import cells, shard
from ril_bench.studies.grid.forecast import forecast
from ril_bench.studies.grid.grid import grid, plan_grid
from ril_bench.studies.grid.workers import Cell
from tests.studies.small_grid import small
from tests.tiny import runner

# -- axes ----------------------------------------------------------------------------------------------------


def test_every_combination_is_a_run(tiny_sequence):
    found = plans(small(tiny_sequence))
    expected = set(product(["naive", "rid"], ["given", "reversed"], [0, 1]))
    assert {(plan.method, plan.order, plan.seed) for plan in found} == expected


def test_a_tuner_may_have_options(tiny_sequence):
    tuners = ["refl", {"name": "drtune", "k": 2, "m": 0}, {"name": "draft", "k": "full"}, None]
    found = plans(axes(None, {"sequences": [tiny_sequence], "methods": ["naive"], "tuners": tuners}))
    resolved = [(plan.tuner, plan.sequence.task(2).tuner.options) for plan in found]
    assert resolved == [
        ("refl", {}),
        ("drtune", {"k": 2, "m": 0}),
        ("draft", {"k": "full"}),
        ("draft", {"k": 1}),
    ]
    assert len({plan.folder(Path()) for plan in found}) == 4


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        ("shapes-ril", ["given", "2-3-1", "3-1-2"]),
        ("shapes-conflict", ["given", "reversed"]),
        ("shapes-long", ["given", *("-".join("12345"[k:] + "12345"[:k]) for k in range(1, 5))]),
    ],
)
def test_latin_orders_put_every_task_once_at_every_position(sequence, expected):
    found = plans(small(sequence, methods=["naive"], seeds=[0], orders=["given", "latin"]))
    assert [plan.order for plan in found] == expected
    positions = list(zip(*(plan.sequence.order for plan in found), strict=True))
    assert all(sorted(position) == sorted(found[0].sequence.order) for position in positions)


def test_given_axes_and_settings_change_those_of_the_file(tmp_path, tiny_sequence):
    file = tmp_path / "grid.yaml"
    file.write_text(
        f"""
        sequences: [{tiny_sequence}]
        seeds: [0, 1, 2]
        set: {{budget.updates: 3}}
        methods:
          - naive
          - {{name: rid, label: weak, set: {{strength: 1e-3}}}}
        """
    )
    found = plans(axes(file, {"seeds": [7]}, {"budget.batch": 4}))
    assert [plan.folder(Path()).as_posix() for plan in found] == [
        "tiny/given/naive@budget.updates=3,budget.batch=4/draft/seed-7",
        "tiny/given/rid@weak/draft/seed-7",
    ]
    assert found[1].method_options == {"strength": 1e-3}
    budgets = [plan.sequence.task(2).budget for plan in found]
    assert {(budget.updates, budget.batch) for budget in budgets} == {(3, 4)}


VARIED = """
sequences: [{sequence}]
methods: [naive, rid]
seeds: [0, 1]
set: {{budget.updates: 3}}
also:
  - {{orders: [reversed], seeds: [0]}}
  - {{methods: [{{name: rid, label: weak, set: {{strength: 1e-3}}}}], set: {{budget.batch: 4}}}}
  - {{methods: [naive], seeds: [1, 2]}}
"""


def test_variations_add_runs_with_the_other_axes_of_the_file(tmp_path, tiny_sequence):
    file = tmp_path / "grid.yaml"
    file.write_text(VARIED.format(sequence=tiny_sequence))
    shorter = "@budget.updates=3"
    assert [plan.folder(Path()).as_posix() for plan in plans(axes(file, {}))] == [
        *(f"tiny/given/{name}{shorter}/draft/seed-{seed}" for name in ("naive", "rid") for seed in (0, 1)),
        *(f"tiny/reversed/{name}{shorter}/draft/seed-0" for name in ("naive", "rid")),
        *(f"tiny/given/rid@weak/draft/seed-{seed}" for seed in (0, 1)),
        f"tiny/given/naive{shorter}/draft/seed-2",  # seed 1 is there already
    ]
    given = plans(axes(file, {"seeds": [7]}, {"budget.batch": 2}))
    assert {plan.seed for plan in given} == {7}
    assert {plan.sequence.task(1).budget.batch for plan in given} == {2}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sequences: [tiny]\n", ["methods", "missing"]),
        ("methods: [naive]\nsequences: [shapes-smoke]\nseed: [0]\n", ["seed", "did you mean 'seeds'?"]),
        (
            "methods: [naive]\nsequences: [shapes-smoke]\nseeds: [-1]\n",
            ["seeds.1", "greater than or equal"],
        ),
        ("methods: []\nsequences: [shapes-smoke]\n", ["methods", "at least 1"]),
        (
            "methods: [naive]\nsequences: [shapes-smoke]\nalso: [{seed: [0]}]\n",
            ["grid.yaml:3", "also.1.seed", "did you mean 'seeds'?"],
        ),
        ("methods: [naive]\nsequences: [shapes-smoke]\nalso: [naive]\n", ["also.1", "keys and values"]),
        ("methods: [naive]\nsequences: [shapes-smoke]\nalso: {seeds: [0]}\n", ["also", "list"]),
        (
            "methods: [naive]\nsequences: [shapes-smoke]\nalso: [{also: []}]\n",
            ["also.1.also", "unknown key"],
        ),
        ("methods: [naive]\nsequences: [shapes-smoke]\nalso: [{methods: []}]\n", ["at least 1"]),
        ("- naive\n", ["keys and values"]),
        ("methods: [naive\n", ["not valid YAML"]),
    ],
)
def test_a_faulty_file_is_refused(tmp_path, text, parts):
    file = tmp_path / "grid.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as error:
        axes(file, {})
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("given", "option"), [({"sequences": ["shapes-smoke"]}, "--method"), ({}, "--sequence")]
)
def test_options_that_are_missing_are_named(given, option):
    with pytest.raises(UserError, match="the grid has no") as caught:
        axes(None, given, {})
    assert caught.value.where == option


def test_all_combinations_that_cannot_be_run_are_named(tiny_sequence):
    with pytest.raises(UserError) as error:
        plans(small(tiny_sequence, methods=["naive", "ridd"], orders=["given", "1-1", "revresed"]))
    for part in ("'ridd'", "did you mean 'rid'?", "'1-1' is no order", "'revresed' is no order"):
        assert part in str(error.value)


def test_two_runs_in_one_folder_are_refused(tiny_sequence):
    with pytest.raises(UserError, match="seed-0"):
        plans(small(tiny_sequence, seeds=[0, 0]))


def test_a_method_that_cannot_be_built_is_refused_before_anything_starts(tiny_sequence, tmp_path):
    wrong = [{"name": "rid", "set": {"strenght": 1.0}}]
    with pytest.raises(UserError, match="strength"):
        grid(small(tiny_sequence, methods=["naive", *wrong]), tmp_path / "out", reporter=Reporter(quiet=True))
    assert not (tmp_path / "out").exists()


# -- cells ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.lists(st.sampled_from("abcdefgh"), max_size=30))
def test_shards_are_a_partition_that_splits_no_group(n, groups):
    whole = [Cell(plan=None, shared=(k,), group=group) for k, group in enumerate(groups)]  # type: ignore[arg-type]
    parts = [shard(whole, f"{i}/{n}") for i in range(1, n + 1)]
    assert sorted((cell for part in parts for cell in part), key=lambda cell: cell.shared) == whole
    owners = [{cell.group for cell in part} for part in parts]
    assert all(not (a & b) for k, a in enumerate(owners) for b in owners[:k])
    assert max(map(len, owners)) - min(map(len, owners)) <= 1


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_faulty_shard_is_refused(part):
    with pytest.raises(UserError, match="is not a shard"):
        shard([], part)


def test_only_runs_of_one_method_tuner_and_seed_share_steps():
    spec = axes(None, {"sequences": ["shapes-ril"], "methods": ["naive", "rid"], "seeds": [0, 1],
                       "orders": ["given", "1-3-2", "reversed"]})  # fmt: skip
    found = {(c.plan.method, c.plan.seed, c.plan.order): c for c in cells(plans(spec))}
    for (_, _, order), cell in found.items():
        assert cell.shared == (() if order == "reversed" else (1,))
    assert len({cell.group for cell in found.values()}) == 2 * 2 * 2  # methods x seeds x first tasks


# -- cost ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["evaluation.every=1"],
        ["evaluation.scales=[0, .25, .75, 1]"],
        ["budget.updates=99", "budget.denoiser_forwards=36"],
        ["budget.updates=99", "budget.denoiser_forwards=36", "evaluation.every=1"],
    ],
)
def test_the_forecast_is_equal_to_the_count_of_a_run(tiny_sequence, tmp_path, fresh_cache, settings):
    run = runner(tiny_sequence, tmp_path, settings=settings)
    steps = RunFolder(run.execute()).read_run()["steps"]
    counted = sum(step["denoiser_forwards"] for step in steps[1:])
    assert forecast(cells([run.plan]), tmp_path).evaluations == counted


def test_shared_steps_are_counted_once():
    spec = axes(None, {"sequences": ["shapes-ril"], "methods": ["naive"], "orders": ["given", "1-3-2"]})
    first, both = (forecast(cells(plans(spec))[:n], Path("none")).evaluations for n in (1, 2))
    sequence = load_sequence("shapes-ril")
    images = sequence.evaluation.prompts * sequence.evaluation.images_per_prompt
    trained = [task.budget.updates * task.budget.batch for task in sequence.tasks]
    drift = [32, 64, 64]  # rollouts that are predicted again, for one and for two other steps
    # of 32 images: after 3, 5, ..., 59 and 60 updates at most, and before the first, but for the pretrained model
    checks = [30, 31, 31]
    steps = [
        sequence.sampler.steps * (n + images + again + 32 * times)
        for n, again, times in zip(trained, drift, checks, strict=True)
    ]
    assert sequence.sampler.guidance == 1
    assert first == sum(steps)
    assert both - first == sum(steps[1:])


def test_time_is_forecast_from_runs_that_were_measured(tiny_sequence, tmp_path):
    work = cells(plans(small(tiny_sequence)))
    assert forecast(work, tmp_path).seconds is None
    steps = RunFolder(runner(tiny_sequence, tmp_path).execute()).read_run()["steps"]
    pace = sum(s["train_seconds"] + s["evaluation_seconds"] for s in steps) / sum(
        s["denoiser_forwards"] for s in steps
    )
    expected = forecast(work, tmp_path)
    assert expected.measured == 1
    assert expected.seconds == pytest.approx(pace * expected.evaluations)


def test_a_forecast_without_measured_runs_has_no_time():
    assert cost.Forecast(1, None, 0).seconds is None


def test_a_plan_states_its_runs_and_writes_nothing(tiny_sequence, tmp_path):
    plan = plan_grid(small(tiny_sequence), tmp_path / "out", jobs=2)
    content = json.loads(json.dumps(plan.plain()))
    assert (content["runs_of_the_grid"], content["jobs"], content["seconds"]) == (8, 2, None)
    assert {run["complete"] for run in content["runs"]} == {False}
    assert len({run["folder"] for run in content["runs"]}) == 8
    assert "8 runs: 0 complete, 8 to run, 2 at a time with 1 thread each" in str(plan)
    assert not (tmp_path / "out").exists()
