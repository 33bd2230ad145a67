"""Fair tuning: its runs, its choice, the data that it must not use, and its file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ril_bench
from ril_bench.errors import NumericalError, UserError
from ril_bench.machine.compute import Compute
from ril_bench.registry import load, shipped
from ril_bench.reporting.find import find_runs
from ril_bench.running.plan import RunPlan
from ril_bench.running.progress import Reporter
from ril_bench.storage.run_folder import RunFolder
from ril_bench.studies import tuning
from tests.tiny import PROMPTS, write_sequence

QUIET = Reporter(quiet=True)
OTHERS = ["a green ring", "a small yellow star", "a large red square"]

METHOD = '''
from ril_bench import Method

class Held(Method):
    """A method whose runs are simulated."""

    class Options(Method.Options):
        strength: float = 1.0
        other: str = "a"
'''


@pytest.fixture
def judged_on(tmp_path):
    file = tmp_path / "others.txt"
    file.write_text("\n".join(OTHERS))
    return str(file)


@pytest.fixture
def sequence(tmp_path, tiny_data):
    """Three tasks; tuning must not use the third task."""
    tasks = [{"reward": "brightness"}, {"reward": "symmetry"}, {"reward": "compressibility"}]
    return write_sequence(tmp_path / "three.yaml", tiny_data, tasks=tasks)


@pytest.fixture
def method(tmp_path):
    file = tmp_path / "held.py"
    file.write_text(METHOD)
    return str(file)


@pytest.fixture
def world(monkeypatch):
    """Simulated runs, whose matrix is a function of the strength. Returns a list of all plans."""
    run_plans: list[RunPlan] = []

    def learns(rule, naive=(1.0, 2.0), base=(0.0, 0.0)):
        def run_all(plans, out, *, reporter, title, **_):
            reporter.stage(title, len(plans))
            for plan in plans:
                run_plans.append(plan)
                strength = plan.method_options.get("strength")
                first, second = naive if strength is None else rule(strength)
                R = [[*base], [first, base[1]], [0.0, second]]
                folder = plan.folder(out)
                folder.mkdir(parents=True, exist_ok=True)
                rows = "\n".join(f"{i},{a},{b}" for i, (a, b) in enumerate(R))
                (folder / "matrix.csv").write_text(f"step,{','.join(plan.sequence.order)}\n{rows}\n")

        monkeypatch.setattr(tuning, "run_all", run_all)
        return run_plans

    return learns


def tuned(method, sequence, prompts, tmp_path, **options):
    return tuning.tune(method, sequence, prompts=prompts, out=tmp_path / "out", reporter=QUIET, **options)


def test_the_floor_is_the_score_of_naive_minus_a_part_of_its_gain():
    R = np.array([[-5.0, 10.0], [-3.0, 12.0], [-4.0, 8.0]])  # of the second reward, less is better
    directions = np.array([1, -1])
    # gains of 2 and 4; three quarters of each gain must be kept
    assert tuning.floors(R, directions, 0.75) == pytest.approx([-3.0 - 0.5, -8.0 - 1.0])


@given(st.floats(0, 1), st.lists(st.floats(-100, 100), min_size=6, max_size=6))
def test_naive_always_reaches_its_own_floors(keep, values):
    R = np.array(values).reshape(3, 2)
    directions = np.array([1, 1])
    if (tuning.gains(R, directions) >= 0).all():
        assert tuning.keeps(R, tuning.floors(R, directions, keep), directions)


def test_the_strongest_value_that_reaches_the_floors_is_chosen(world, method, sequence, judged_on, tmp_path):
    run_plans = world(lambda s: (1.0, 2.0) if s <= 30 else (1.0, 1.5))
    study = tuned(method, sequence, judged_on, tmp_path, keep=0.8)
    assert study.chosen == max(s for s in tuning.STRENGTHS if s <= 30)
    assert not study.at_the_end
    assert len(study.trials) <= 4  # of fifteen values
    assert all(trial.keeps == (trial.value <= 30) for trial in study.trials)
    assert {plan.seed for plan in run_plans} == {2001, 2002}


def test_both_tasks_must_be_learned(world, method, sequence, judged_on, tmp_path):
    world(lambda s: (1.0 if s <= 1 else 0.1, 2.0))  # as for RID, which already acts in the first task
    assert tuned(method, sequence, judged_on, tmp_path).chosen == 1.0


def test_the_study_states_that_it_chose_the_strongest_candidate(world, method, sequence, judged_on, tmp_path):
    world(lambda s: (1.0, 2.0))
    study = tuned(method, sequence, judged_on, tmp_path)
    assert (study.chosen, study.at_the_end) == (10_000.0, True)


def test_for_a_method_that_never_learns_as_much_as_naive_the_floors_come_from_its_weakest_value(
    world, method, sequence, judged_on, tmp_path
):
    world(lambda s: (1.0, 0.5) if s <= 30 else (1.0, 0.3))
    study = tuned(method, sequence, judged_on, tmp_path)
    assert study.reference == "strength 0.001"
    assert study.floors == pytest.approx((0.8, 0.4))
    assert study.chosen == max(s for s in tuning.STRENGTHS if s <= 30)


def test_it_may_be_that_no_value_reaches_the_floors(world, method, sequence, judged_on, tmp_path):
    def broken(s):
        raise NumericalError("the loss is not finite")

    world(broken)
    study = tuned(method, sequence, judged_on, tmp_path)
    assert (study.chosen, study.at_the_end, study.reference) == (None, False, "naive")


def test_a_strength_that_breaks_the_training_does_not_reach_the_floors(
    world, method, sequence, judged_on, tmp_path
):
    def rule(s):
        if s > 1:
            raise NumericalError("the loss is not finite")
        return (1.0, 2.0)

    world(rule)
    study = tuned(method, sequence, judged_on, tmp_path)
    assert study.chosen == 1.0
    assert [trial.R is None for trial in study.trials] == [trial.value > 1 for trial in study.trials]


def test_tuning_never_uses_later_tasks_or_reported_prompts_and_seeds(
    world, method, sequence, judged_on, tmp_path
):
    run_plans = world(lambda s: (1.0, 2.0))
    tuned(method, sequence, judged_on, tmp_path)
    whole = ril_bench.load_sequence(sequence)
    for plan in run_plans:
        assert plan.sequence.order == ["brightness", "symmetry"]
        assert plan.sequence.prompts.eval == judged_on
        assert plan.sequence.evaluation.seed != whole.evaluation.seed
        assert plan.seed >= tuning.FIRST_SEED
        assert not plan.official


def test_prompts_that_are_reported_are_refused(method, sequence, tmp_path):
    with pytest.raises(UserError) as caught:
        tuned(method, sequence, None, tmp_path)  # the tiny sequence trains on its evaluation prompts
    assert "the evaluation reports 3 prompts" in str(caught.value)
    assert caught.value.where == "--prompts"
    assert repr(min(PROMPTS[:3])) in str(caught.value)


def test_what_cannot_be_tuned_is_refused(world, method, sequence, judged_on, tiny_data, tmp_path):
    with pytest.raises(UserError, match="naive has no option 'strength'"):
        tuned("naive", sequence, judged_on, tmp_path)
    with pytest.raises(UserError, match="no option 'weight'") as caught:
        tuned(method, sequence, judged_on, tmp_path, option="weight")
    assert "strength, other" in str(caught.value.hint)
    single = write_sequence(tmp_path / "one.yaml", tiny_data, tasks=[{"reward": "brightness"}])
    with pytest.raises(UserError, match="a sequence with one task"):
        tuned(method, single, judged_on, tmp_path)
    world(lambda s: (1.0, 2.0), naive=(1.0, -0.1))
    with pytest.raises(UserError, match="does not raise symmetry"):
        tuned(method, sequence, judged_on, tmp_path)


def test_the_trials_are_written_beside_the_method(world, method, sequence, judged_on, tmp_path):
    world(lambda s: (1.0, 2.0 if s <= 1 else 0.0))
    study = tuned(method, sequence, judged_on, tmp_path)
    tuned(method, sequence, judged_on, tmp_path, settings=["method.other=b"])
    assert study.file == tmp_path / "held.tuning.json"
    filed = json.loads(study.file.read_text())
    assert list(filed) == ["tiny / draft / strength", "tiny / draft / other=b / strength"]
    entry = filed["tiny / draft / strength"]
    assert entry["chosen"] == 1.0
    assert entry["naive"] == [[0, 0], [1, 0], [0, 2]]
    assert [trial["value"] for trial in entry["trials"]] == [trial.value for trial in study.trials]
    assert entry["made_with"]["seeds"] == [2001, 2002]
    assert filed["tiny / draft / other=b / strength"]["made_with"]["options"] == {"other": "b"}


def test_a_file_that_cannot_be_written_stops_a_study_before_its_first_run(
    world, method, sequence, judged_on, tmp_path
):
    run_plans = world(lambda s: (1.0, 2.0))
    with pytest.raises(UserError, match=r"cannot write held\.tuning\.json"):
        tuned(method, sequence, judged_on, tmp_path, to=Path("/proc/held.tuning.json"))
    assert run_plans == []


def test_a_study_shows_how_many_runs_are_done(world, method, sequence, judged_on, tmp_path, monkeypatch):
    world(lambda s: (1.0, 2.0))
    stages = []
    monkeypatch.setattr(Reporter, "stage", lambda self, name, total: stages.append((name, total)))
    tuned(method, sequence, judged_on, tmp_path, values=[1.0, 10.0])
    assert stages == [("naive on brightness and symmetry", 2), ("strength 10", 2)]


def test_runs_compute_in_the_formats_that_the_file_states(
    world, method, sequence, judged_on, tmp_path, monkeypatch
):
    world(lambda s: (1.0, 2.0))
    simulated, used = tuning.run_all, []
    monkeypatch.setattr(
        tuning, "run_all", lambda *args, compute, **kw: used.append(compute) or simulated(*args, **kw)
    )
    study = tuned(method, sequence, judged_on, tmp_path, compute=Compute(dtype="bfloat16"))
    assert {compute.dtype for compute in used} == {"bfloat16"}
    (stored,) = json.loads(study.file.read_text()).values()
    assert stored["made_with"]["compute"] == {"dtype": "bfloat16", "vae_dtype": "float32"}


def test_tuning_with_real_runs(tiny_data, judged_on, tmp_path, in_this_process):
    """The l2 baseline with a strength of 0, which is naive, and with one that stops learning."""
    tasks = [{"reward": "brightness"}, {"reward": "colorfulness"}]
    optimizer = {**tiny_data["optimizer"], "lr": 0.1}  # naive must raise both, whatever the version of torch
    sequence = write_sequence(tmp_path / "two.yaml", tiny_data, tasks=tasks, optimizer=optimizer)
    copy = tmp_path / "l2.py"
    copy.write_bytes((shipped("baselines") / "l2.py").read_bytes())
    study = tuned(str(copy), sequence, judged_on, tmp_path, values=[0.0, 1e9], seeds=1, jobs=1)
    free = next(trial for trial in study.trials if trial.value == 0.0)
    assert free.keeps  # a strength of 0 is naive
    assert study.naive == free.R
    done = [RunFolder(file.parent) for file in (tmp_path / "out").rglob("run.json")]
    assert len(done) == 1 + len(study.trials)
    assert {run.read_run()["purpose"] for run in done} == {"tuning"}
    with pytest.raises(UserError, match="no run here"):  # reports leave out runs for tuning
        find_runs([tmp_path / "out"])
    before = {run.path: (run.path / "scores.parquet").stat().st_mtime_ns for run in done}
    again = tuned(str(copy), sequence, judged_on, tmp_path, values=[0.0, 1e9], seeds=1, jobs=1)
    assert again == study
    assert before == {run.path: (run.path / "scores.parquet").stat().st_mtime_ns for run in done}


def shipped_studies():
    return [
        (file.name.removesuffix(".tuning.json"), name, study)
        for file in sorted(Path(shipped("baselines")).glob("*.tuning.json"))
        for name, study in json.loads(file.read_text()).items()
    ]


@pytest.mark.parametrize(("method", "name", "study"), shipped_studies())
def test_a_shipped_choice_follows_from_its_trials(method, name, study):
    directions, trials = np.array(study["directions"]), {t["value"]: t for t in study["trials"]}
    reference = study["naive"]
    if study["reference"] != "naive":
        reference = trials[float(study["reference"].rpartition(" ")[2])]["R"]
    floors = tuning.floors(np.array(reference), directions, study["keep"])
    for trial in trials.values():
        assert trial["keeps"] == (
            trial["R"] is not None and (directions * tuning.learned(np.array(trial["R"])) >= floors).all()
        )
    assert study["chosen"] in [trial["value"] for trial in study["trials"] if trial["keeps"]]
    option = name.rpartition(" / ")[2]
    assert load("method", method).Options.model_fields[option].default == study["chosen"]
