"""Training to a criterion: the estimate, when it is made, and runs that end early."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.errors import UserError
from ril_bench.rewards.pixels import Brightness
from ril_bench.running.criterion import Criterion, Goal, next_check
from ril_bench.running.fixed_images import fixed_scores
from ril_bench.running.materials import Materials
from ril_bench.running.reward_task import Unit
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.sequences.spec import Until
from ril_bench.storage.run_folder import RunFolder
from tests.running.stopping import Stopping, go_on_until_done, log_lines, status
from tests.tiny import PROMPTS, LoraPerTask, bound, results, reward_task, runner, training, write_sequence

UNTIL = Until(gain=0.5, images=4, every=5)
QUICK = ["budget.updates=12", "budget.until={gain: 0.3, images: 4, every: 3}"]

# -- the spec ------------------------------------------------------------------------------------------------


def test_a_number_is_the_gain(tiny_sequence):
    short = load_sequence(tiny_sequence, {"budget.until": 0.5}).task(1).budget
    assert short.until == Until(gain=0.5, images=32, every=5)
    assert load_sequence(tiny_sequence).task(1).budget.until is None
    assert "until" not in load_sequence(tiny_sequence).model_dump(mode="json")["budget"]
    assert short.bounds == {}


@pytest.mark.parametrize("until", [0, -1.0, True, {"gain": 0.5, "images": 1}, {"images": 4}])
def test_a_wrong_criterion_is_a_fault_of_the_file(tiny_sequence, until):
    with pytest.raises(UserError, match=r"budget\.until"):
        load_sequence(tiny_sequence, {"budget.until": until})


def test_a_tuner_that_does_not_learn_from_the_reward_is_refused(tiny_sequence, tmp_path):
    settings = {"tuner": {"name": "sft", "images": "shapes/aesthetic"}, "budget.until": 0.5}
    materials = Materials.load(load_sequence(tiny_sequence, settings), torch.device("cpu"))
    with pytest.raises(UserError, match="sft does not raise brightness") as caught:
        materials.check_tuners()
    assert caught.value.where == "tasks.1.budget.until"


# -- the estimate --------------------------------------------------------------------------------------------


def goal(model, until=UNTIL, unit=None, sigma=1.0):
    task = reward_task(model, reward=Brightness(), unit=unit)
    pretrained = fixed_scores(model, task.sampler, 3.0, PROMPTS, {"brightness": Brightness()}, until.images)
    return Goal(task, until, pretrained["brightness"].double(), sigma)


def test_the_gain_is_the_mean_paired_difference_in_sigma(tiny_model):
    own = goal(tiny_model, unit=Unit(b=100.0, sigma=2.0), sigma=2.0)
    shift = torch.tensor([1.0, 2.0, 3.0, 6.0])
    assert own.gain(own.pretrained.float() + shift) == pytest.approx(3.0 / 2.0, rel=1e-4)
    assert own.gain(torch.cat([own.pretrained.float() + shift, torch.zeros(3)])) == pytest.approx(
        1.5, rel=1e-4
    )


def test_a_model_that_no_adapter_changes_has_gained_nothing_and_generates_nothing(tiny_model):
    criterion = Criterion({1: goal(tiny_model)})
    bound(LoraPerTask(), tiny_model).start_task(reward_task(tiny_model), tiny_model)
    tiny_model.counter.clear()
    assert criterion.check(tiny_model, 0) == {"brightness": 0.0}
    assert not tiny_model.counter
    assert criterion.check(tiny_model, 1)["brightness"] == pytest.approx(0.0, abs=1e-4)
    assert tiny_model.counter["decode", False, 4] == 1


def test_a_task_leaves_the_sum_when_it_meets_its_criterion_and_returns_when_it_loses_it(tiny_model):
    one = training(tiny_model, bound(LoraPerTask(), tiny_model), updates=5)
    one.tasks, one.weights = {1: one.tasks[1], 2: reward_task(tiny_model, 2)}, {1: 1.0, 2: 1.0}
    one.criterion = Criterion({j: Goal(task, UNTIL, torch.zeros(4), 1.0) for j, task in one.tasks.items()})
    for gains, raised in [
        ({1: 0.0, 2: 0.0}, "brightness+symmetry"),
        ({1: 0.6, 2: 0.1}, "symmetry"),
        ({1: 0.4, 2: 0.5}, "brightness"),
    ]:
        one.criterion.checks.append((len(one.criterion.checks), gains))
        assert one.objective.name == raised
        assert not one.finished
    one.criterion.checks.append((3, {1: 0.5, 2: 0.7}))
    assert one.finished


def test_a_turn_that_an_oracle_names_is_raised_whole_whatever_is_met(tiny_model):
    """agem's reference is the gradient of all earlier rewards, also of those that keep their level."""
    one = training(tiny_model, bound(LoraPerTask(), tiny_model), updates=5)
    one.tasks, one.weights = {1: one.tasks[1], 2: reward_task(tiny_model, 2)}, {1: 1.0, 2: 1.0}
    one.criterion = Criterion({j: Goal(task, UNTIL, torch.zeros(4), 1.0) for j, task in one.tasks.items()})
    one.criterion.checks.append((0, {1: 0.6, 2: 0.1}))
    for turn, raised in [([1, 2], "brightness+symmetry"), ([1], "brightness"), (None, "symmetry")]:
        one.method.turn = lambda update, turn=turn: turn
        assert one.objective.name == raised


# -- when it is made -----------------------------------------------------------------------------------------

histories = st.lists(st.tuples(st.integers(1, 9), st.floats(-3, 3)), min_size=1, max_size=8).map(
    lambda steps: [(sum(n for n, _ in steps[: k + 1]), gain) for k, (_, gain) in enumerate(steps)]
)


@given(histories, st.floats(0.01, 2) | st.floats(2, 1e308), st.integers(1, 20))
def test_a_check_comes_at_least_two_and_at_most_every_updates_later(checks, gain, every):
    wait = next_check(checks, Until(gain=gain, images=4, every=every)) - checks[-1][0]
    assert min(2, every) <= wait <= every


@given(st.floats(0.001, 0.4), st.floats(0.05, 2), st.integers(1, 30))
def test_a_task_that_gains_at_an_even_rate_overshoots_by_less_than_two_updates(rate, gain, every):
    until, checks = Until(gain=gain, images=4, every=every), [(0, 0.0)]
    first = next_check(checks, until)
    while checks[-1][1] < gain:
        update = next_check(checks, until)
        checks.append((update, rate * update))
    if len(checks) > 2:  # the first check comes before any rate is known
        assert checks[-1][1] < gain + 2 * rate * (1 + 1e-6)
    assert checks[1][0] == first == max(min(2, every), -(-every // 2))


# -- runs ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def early(tiny_sequence, tmp_path_factory):
    """A complete run that ends its tasks early."""
    return runner(tiny_sequence, tmp_path_factory.mktemp("early"), settings=QUICK).execute()


def test_a_task_ends_when_its_criterion_is_met(early):
    steps, log = status(early)["steps"], log_lines(early)
    assert steps[0]["updates"] == 0
    for step in steps[1:]:
        lines = [line for line in log if line["task"] == step["step"]]
        assert len(lines) == step["updates"] <= 12
        assert step["met"] == (step["gain"][step["reward"]] >= 0.3)
        assert step["met"] or step["updates"] == 12
        if lines:
            assert lines[-1]["gain"] == step["gain"]
            assert all(line.get("gain", {}).get(step["reward"], 0) < 0.3 for line in lines[:-1])
    assert steps[1]["updates"] < 12


def test_it_ends_with_the_bytes_of_a_run_of_as_many_updates(early, tiny_data, tmp_path):
    updates = [step["updates"] for step in status(early)["steps"][1:]]
    assert all(updates)
    tasks = [
        {"reward": reward, "budget": {"updates": n}}
        for reward, n in zip(("brightness", "symmetry"), updates, strict=True)
    ]
    fixed = runner(write_sequence(tmp_path / "tiny.yaml", tiny_data, tasks=tasks), tmp_path).execute()
    assert results(fixed) == results(early)


def test_checks_are_counted_as_training(early, tiny_sequence):
    step = status(early)["steps"][1]
    checks = sum("gain" in line for line in log_lines(early) if line["task"] == 1)
    updates = step["updates"] * 2 * 2 * 3  # 2 guided images at 3 steps
    images = checks * 4 * 2 * 3  # the check before the first update generates nothing
    evaluation = 2 * 6 * 2 * 3  # the images, and step 0 on the same rollouts for the drift
    assert step["denoiser_forwards"] == updates + images + evaluation


@pytest.mark.parametrize("units", [[1, 2], [2, 1, 1, 3]])
def test_a_resume_gives_the_same_bytes(early, tiny_sequence, tmp_path, units):
    reporters = [*map(Stopping, units)]

    def again():
        reporter = reporters.pop(0) if reporters else None
        return runner(tiny_sequence, tmp_path, settings=QUICK, reporter=reporter)

    folder, times = go_on_until_done(again, KeyboardInterrupt)
    assert times == len(units)
    assert results(folder) == results(early)
    assert log_lines(folder) == log_lines(early)
    keys = ("updates", "met", "gain", "denoiser_forwards", "reward_calls")
    found, whole = (
        [[step.get(key) for key in keys] for step in status(run)["steps"][1:]] for run in (folder, early)
    )
    assert found == whole


@pytest.mark.parametrize("method", ["naive", "joint"])
def test_a_task_may_need_no_update(tiny_data, tmp_path, method):
    """Task 2 has the reward of task 1 under another name, so its criterion is met at its start."""
    file = tmp_path / "also.py"
    file.write_text(ALSO)
    tasks = [{"reward": "brightness"}, {"reward": str(file)}]
    sequence = write_sequence(tmp_path / "tiny.yaml", tiny_data, tasks=tasks)
    settings = ["budget.updates=12", "budget.until={gain: 0.01, images: 4}"]
    folder = runner(sequence, tmp_path, method, settings=settings).execute()
    steps = status(folder)["steps"]
    if method == "naive":  # joint begins each task at the pretrained model
        assert (steps[2]["updates"], steps[2]["met"]) == (0, True)
    assert steps[2]["gain"]["also"] is not None
    assert np.isfinite([line["score"] for line in RunFolder(folder).read_log()]).all()


ALSO = """
from ril_bench.rewards.pixels import Brightness

class Also(Brightness):
    \"\"\"Brightness, under another name.\"\"\"

    name = "also"
"""


def test_a_stated_unit_does_not_change_what_a_criterion_asks(tiny_sequence, tmp_path):
    """A tuner then sees the reward in another unit; the gain stays in deviations of the pretrained model."""
    until = ["budget.updates=1", "budget.until={gain: 1e6, images: 4}"]
    plain = status(runner(tiny_sequence, tmp_path / "a", settings=until).execute())
    stated = status(runner(tiny_sequence, tmp_path / "b", settings=[*until, "unit=1e-9"]).execute())
    gain = [run["steps"][1]["gain"]["brightness"] for run in (plain, stated)]
    # AdamW's step does not depend on the unit, but for its epsilon
    assert gain[1] == pytest.approx(gain[0], rel=0.05, abs=1e-3)


def test_joint_trains_until_all_criteria_are_met_or_k_times_the_budgets_are_spent(tiny_sequence, tmp_path):
    never = ["budget.updates=1", "budget.until={gain: 1e6, images: 4}"]
    folder = runner(tiny_sequence, tmp_path, "joint", settings=[*never, "method.k=2.0"]).execute()
    steps = status(folder)["steps"]
    assert [(step["updates"], step.get("met")) for step in steps] == [(0, None), (2, False), (4, False)]
    assert steps[2]["gain"].keys() == {"brightness", "symmetry"}
    soon = ["budget.updates=3", "budget.until={gain: 0.1, images: 4, every: 2}", "method.k=2.0"]
    folder = runner(tiny_sequence, tmp_path, "joint", settings=soon).execute()
    for step in status(folder)["steps"][1:]:
        assert step["met"] == all(gain >= 0.1 for gain in step["gain"].values())
        assert step["met"] or step["updates"] == 2 * 3 * step["step"]


def test_a_criterion_survives_a_checkpoint():
    criterion = Criterion({}, checks=[(0, {1: 0.0, 2: 0.1}), (3, {1: 0.4, 2: -0.1})])
    again = Criterion({})
    again.load(copy.deepcopy(criterion.state()))
    assert again.checks == criterion.checks
