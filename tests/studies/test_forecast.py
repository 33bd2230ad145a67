"""The forecast of a run, compared with what its run.json counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.methods import Consolidation, Plan
from ril_bench.running.criterion import most_checks, next_check
from ril_bench.running.plan import plan_run
from ril_bench.running.step_cost import training_cost
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.sequences.spec import Until
from ril_bench.storage.run_folder import RunFolder
from ril_bench.studies.grid.forecast import evaluations_of
from ril_bench.tuners.base import Cost
from ril_bench.tuners.dpo import Dpo
from ril_bench.tuners.draft import Draft
from ril_bench.tuners.own_rollouts import OwnRollouts
from tests.tiny import runner, write_sequence

TUNERS = {
    "draft": {"copies": 2},
    "refl": {},
    "dpo": {"noises": 2},
    "ddpo": {"samples": 2, "kl": 0.1, "reuse": 2},
    "nft": {"samples": 2},
}
NEVER = {"gain": 1e6, "images": 4, "every": 2}  # so a task does not end early


def forecast_and_count(sequence, out, settings=()):
    """The forecast of a run's trained steps, and the evaluations that the run counts for them."""
    run = runner(sequence, out, settings=settings)
    steps = RunFolder(run.execute()).read_run()["steps"]
    return evaluations_of(run.plan, 1), sum(step["denoiser_forwards"] for step in steps[1:])


@pytest.mark.parametrize("until", [None, NEVER], ids=["budget", "criterion"])
@pytest.mark.parametrize("name", TUNERS)
def test_a_run_takes_what_was_forecast(name, until, tiny_data, tmp_path):
    changes = {"tuner": {"name": name, **TUNERS[name]}, "budget": {"updates": 4, "batch": 2, "until": until}}
    sequence = write_sequence(tmp_path / "tiny.yaml", tiny_data, **changes)
    forecast, counted = forecast_and_count(sequence, tmp_path / "out")
    assert counted <= forecast <= 1.1 * counted


def test_a_bound_on_calls_holds_for_the_checks_of_a_criterion_too(tiny_data, tmp_path):
    """The bound is reached by updates of 12 evaluations and checks of 24."""
    budget = {"updates": 99, "batch": 2, "until": NEVER, "denoiser_forwards": 100}
    forecast, counted = forecast_and_count(
        write_sequence(tmp_path / "tiny.yaml", tiny_data, budget=budget), tmp_path / "out"
    )
    assert counted <= forecast <= counted + 2 * (12 + 24)


@given(
    gains=st.lists(st.floats(-1, 2), min_size=60, max_size=60),
    updates=st.integers(1, 50),
    every=st.integers(1, 9),
)
def test_no_gains_cause_more_checks_than_are_forecast(gains, updates, every):
    until, checks = Until(gain=1.0, every=every), [(0, 0.0)]
    for update in range(1, updates + 1):
        if update >= next_check(checks, until) or update == updates:
            checks.append((update, gains[len(checks)]))
    assert len(checks) - 1 <= most_checks(updates, every)


def test_as_many_checks_as_are_forecast_are_possible():
    assert most_checks(1, 5) == 1
    assert most_checks(8, 5) == len([3, 5, 7, 8])
    assert most_checks(3, 1) == 3


def test_tasks_with_the_same_prompts_share_the_images_of_a_check(tiny_data, tmp_path):
    budget = {"updates": 3, "batch": 2, "until": {"gain": 1.0, "images": 4, "every": 1}}
    sequence = load_sequence(write_sequence(tmp_path / "tiny.yaml", tiny_data, budget=budget))
    plan = Plan(weights={1: 1.0, 2: 1.0}, updates="sum", start="pretrained")
    updates, cost = training_cost(Draft(k=1), plan, sequence, 2)
    assert updates == 6
    assert cost == Cost(6 * 2 * 6 + 6 * 4 * 6, 6 * 2 * 2, 6 * 2 + 6 * 2 * 4, 6 * 2)


def test_a_consolidation_costs_its_own_rollouts(tiny_sequence):
    sequence = load_sequence(tiny_sequence)
    phase = Consolidation(updates=2.0, calls=2)
    alone, with_phase = (
        training_cost(Dpo(), Plan(weights={1: 1.0}, consolidation=of_phase), sequence, 1)
        for of_phase in (None, phase)
    )
    assert with_phase[0] == alone[0] + 4
    assert with_phase[1] == alone[1] + 4 * (2 * OwnRollouts(calls=2).update_cost(3, 2))


def test_published_settings_are_not_forecast_as_one_rollout():
    """48 prompts of 24 images: 10 steps each, and 9 predictions of model, old policy and reference."""
    plan = plan_run("shapes-ril", "naive", preset="nft")
    updates = sum(task.budget.updates for task in plan.sequence.tasks)
    trained = updates * 48 * 24 * (10 + 9 + 9 + 9)
    assert trained < evaluations_of(plan, 1) < 1.01 * trained
