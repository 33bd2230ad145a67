"""Plans: folders, labels, orders, settings and the identity of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ril_bench.errors import UserError
from ril_bench.running.plan import plan_run
from ril_bench.sequences import sequence_file
from tests.tiny import write_sequence

OUT = Path("out")


def test_a_plain_plan(tiny_sequence):
    plan = plan_run(tiny_sequence, "naive", seed=3)
    assert plan.folder(OUT) == OUT / "tiny/given/naive/draft/seed-3"
    assert plan.sequence.order == ["brightness", "symmetry"]
    assert (plan.label, plan.method_options, plan.official, plan.comparable) == (None, {}, True, True)


def test_settings_change_the_sequence_or_the_method_and_become_the_label(tiny_sequence):
    plan = plan_run(
        tiny_sequence,
        "rid",
        settings={"budget.updates": 7, "method.strength": 1e-2, "method.teacher": "keep"},
    )
    assert plan.sequence.task(2).budget.updates == 7
    assert plan.method_options == {"strength": 0.01, "teacher": "keep"}
    assert not plan.official
    assert plan.comparable  # step 0 depends neither on the budget nor on the method
    assert plan.folder(OUT).parts[-3] == "rid@budget.updates=7,strength=0.01,teacher=keep"


def test_a_changed_method_leaves_the_sequence_as_it_is_written(tiny_sequence):
    plan = plan_run(tiny_sequence, "rid", settings={"method.strength": 0.5})
    assert plan.official
    assert plan.label == "strength=0.5"


@pytest.mark.parametrize(
    ("key", "value"),
    [("sampler.steps", 4), ("sampler.guidance", 2.0), ("evaluation.seed", 1), ("evaluation.prompts", 2)],
)
def test_a_changed_step_zero_is_not_comparable_with_the_calibration(tiny_sequence, key, value):
    plan = plan_run(tiny_sequence, "naive", settings={key: value})
    assert not plan.comparable
    assert not plan.official


def test_a_label_may_be_chosen(tiny_sequence):
    plan = plan_run(tiny_sequence, "naive", settings={"budget.updates": 7}, label="short")
    assert plan.folder(OUT).parts[-3] == "naive@short"


def test_a_label_can_always_be_the_name_of_a_folder(tiny_sequence):
    plan = plan_run(
        tiny_sequence, "rid", settings={"method.teacher": "../../x y/é", "adapter.targets": ["to_q", "to_k"]}
    )
    assert "/" not in plan.label
    assert plan.folder(OUT).parts[-3].isascii()
    many = plan_run(tiny_sequence, "rid", settings={f"method.option{i}": i for i in range(100)})
    assert len(many.label) <= 120


def test_another_tuner_may_be_chosen_with_its_own_options(tiny_sequence, tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text(
        "from ril_bench import Tuner\n\n\nclass Mine(Tuner):\n"
        "    class Options(Tuner.Options):\n        rate: float = 1.0\n"
    )
    plan = plan_run(tiny_sequence, "naive", tuner=str(file), settings={"tuner.rate": 0.5})
    assert (plan.tuner, plan.sequence.task(2).tuner.options) == ("mine", {"rate": 0.5})
    assert plan.folder(OUT) == OUT / "tiny/given/naive@tuner.rate=0.5/mine/seed-0"
    plain = plan_run(tiny_sequence, "naive", tuner=str(file))
    assert (plain.label, plain.official, plain.comparable) == (None, True, True)


def test_a_tuner_may_be_named(tiny_sequence):
    own = plan_run("shapes-ril", "naive", tuner="draft")
    assert (own.sequence.tuner.options, own.label, own.official) == ({"k": 4}, None, True)
    with pytest.raises(UserError, match="no tuner is called 'drafft'"):
        plan_run(tiny_sequence, "naive", tuner="drafft")


@pytest.mark.parametrize(
    ("key", "value"), [("budget.update", 3), ("budget.updates", "many"), ("tasks.3.reward", "x")]
)
def test_a_wrong_setting_is_named(tiny_sequence, key, value):
    with pytest.raises(UserError, match="has a fault") as caught:
        plan_run(tiny_sequence, "rid", settings={key: value})
    assert f"--set {key}" in str(caught.value)


def test_a_plan_parses_its_sequence_once(tiny_sequence, monkeypatch):
    parsed = []
    read = sequence_file.read_source
    monkeypatch.setattr(sequence_file, "read_source", lambda path: parsed.append(path) or read(path))
    plan_run(tiny_sequence, "rid", tuner="refl", settings={"budget.updates": 3, "method.strength": 1})
    assert parsed == [Path(tiny_sequence)]


def test_the_hint_for_an_unknown_method_has_the_nearest_name(tiny_sequence):
    with pytest.raises(UserError, match="no method is called 'naiv'") as caught:
        plan_run(tiny_sequence, "naiv")
    assert "'naive'" in caught.value.hint


def test_different_runs_have_different_identities(tiny_data, tmp_path):
    sequence = write_sequence(tmp_path / "tiny.yaml", tiny_data)
    method = tmp_path / "mine.py"
    method.write_text("from ril_bench import Method\nclass Mine(Method):\n    pass\n")
    plan = plan_run(sequence, str(method), seed=1)
    first = plan.identity()
    assert first["method"]["name"] == "mine"
    assert plan_run(sequence, str(method), seed=1).identity() == first
    assert plan_run(sequence, str(method), seed=2).identity() != first
    assert plan_run(sequence, str(method), seed=1, settings={"method.a": 1}).identity() != first
    method.write_text(method.read_text() + "# changed\n")
    assert plan.identity()["method"]["file_sha256"] != first["method"]["file_sha256"]
    write_sequence(Path(sequence), tiny_data, version=2)
    assert plan_run(sequence, str(method), seed=1).identity()["sequence_sha256"] != first["sequence_sha256"]


@pytest.mark.parametrize("label", ["../../escaped", "a/b", "a\nb", ".", "", "-x", "x" * 121, "é"])
def test_a_label_that_is_no_name_of_a_folder(label):
    with pytest.raises(UserError, match="a label cannot be") as caught:
        plan_run("shapes-smoke", "naive", label=label)
    assert caught.value.where == "--label"


@pytest.mark.parametrize(("key", "value"), [("evaluation.prompts", 1), ("sampler.steps", 1)])
def test_settings_without_a_meaningful_result(key, value):
    with pytest.raises(UserError, match=f"{key}: should be greater than or equal to 2"):
        plan_run("shapes-smoke", "naive", settings={key: value})
