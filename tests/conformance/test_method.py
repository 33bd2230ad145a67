"""The conformance suite: every baseline passes it, and each broken method is caught with a message of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ril_bench import registry
from ril_bench.conformance.method import check_method

BROKEN = Path(__file__).parent / "broken"

CAUGHT = {  # file: what the finding says, and what its mend says
    "typo": ("start_tasks is not a hook", "did you mean 'start_task'?"),
    "two_classes": ("exactly one subclass of Method", None),
    "trains_nothing": ("lets no adapter train", "train=[name]"),
    "learns_nothing": ("task 1 changed brightness by -", "train"),
    "careless_draws": ("two runs of one seed differ", "keyed by task.key"),
    "forgets_its_state": ("stopped inside task 2 ends differently", "state_dict must hold all that changes"),
    "odd_state": ("set: a checkpoint holds tensors and plain values only", "plain values"),
    "lossy_state": ("given back is another one", "load_state_dict must take back"),
    "touches_the_past": ("frozen adapters moved while a task was trained: task-1", "what trains only"),
    "touches_the_base": ("the pretrained weights have changed", "change adapters only"),
    "hides_what_it_carries": ("keeps 4096 bytes that its state_dict does not give", "carried bytes"),
    "replays_in_secret": ("step 2 of its plan trains on task 1 as well", "oracle = True"),
    "keeps_a_reward": ("uses the reward 'brightness' after that task is over", "oracle = True"),
    "reads_the_prompts": ("it reads task.prompts", "a task shows index, name"),
    "single_call_only": ("AssertionError: a second call (single_call_only.py:", None),
}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_broken_method_is_caught_with_its_own_message(name, tiny_sequence):
    said, mend = CAUGHT[name]
    faults = [finding for finding in check_method(str(BROKEN / f"{name}.py"), tiny_sequence) if finding.fault]
    assert any(said in finding.fault for finding in faults), faults
    if mend:
        assert any(mend in (finding.hint or "") for finding in faults)


def test_every_broken_method_is_a_case():
    assert {file.stem for file in BROKEN.glob("*.py")} == set(CAUGHT)
    assert len({said for said, _ in CAUGHT.values()}) == len(CAUGHT)


@pytest.mark.parametrize("name", registry.names("method"))
def test_every_baseline_passes(name, tiny_sequence):
    findings = list(check_method(name, tiny_sequence))
    assert [finding for finding in findings if finding.fault] == []
    assert len(findings) == 10


def test_in_the_embedded_world():
    findings = list(check_method("rid"))
    assert [finding.fault for finding in findings] == [None] * 10
