"""The conformance suite of methods.

Every baseline passes the suite. The suite reports each broken method with a different message.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ril_bench import registry
from ril_bench.conformance.method import check_method

BROKEN = Path(__file__).parent / "broken"

CAUGHT = {  # file: a part of the fault, and a part of the hint
    "typo": ("start_tasks is not a hook", "did you mean 'start_task'?"),
    "two_classes": ("exactly one subclass of Method", None),
    "trains_nothing": ("lets no adapter train", "train=[name]"),
    "learns_nothing": ("task 1 changed brightness by -", "train"),
    "careless_draws": ("two runs of one seed differ", "keyed by task.key"),
    "forgets_its_state": ("stopped inside task 2 ends differently", "state_dict must hold all that changes"),
    "odd_state": ("set: a checkpoint holds tensors and plain values only", "plain values"),
    "lossy_state": ("state_dict returns another state", "load_state_dict must restore"),
    "touches_the_past": ("frozen adapters changed while a task was trained: task-1", "adapters that train"),
    "touches_the_base": ("changed weights of the pretrained model: vae.", "change adapters only"),
    "hides_what_it_carries": ("keeps 2048 bytes that its state_dict does not return", "carried bytes"),
    "replays_in_secret": ("step 2 also trains on task 1", "oracle = True"),
    "keeps_a_reward": ("uses the reward 'brightness' after that task is over", "oracle = True"),
    "reads_the_prompts": ("it reads task.prompts", "a method may read index, name"),
    "needs_an_update": ("failed: ZeroDivisionError: division by zero (in end_task)", None),
    "single_call_only": ("failed: AssertionError: a second call (in prediction_loss)", None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CAUGHT)
def test_a_broken_method_is_caught_with_its_own_message(name, tiny_sequence):
    fault, hint = CAUGHT[name]
    seen = []
    for result in check_method(str(BROKEN / f"{name}.py"), tiny_sequence):
        seen.append(result)
        if fault in (result.fault or "") and (hint or "") in (result.hint or ""):
            return  # later checks need more runs
    pytest.fail(f"{seen}")


def test_every_broken_method_is_a_case():
    assert {file.stem for file in BROKEN.glob("*.py")} == set(CAUGHT)
    assert len({fault for fault, _ in CAUGHT.values()}) == len(CAUGHT)


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("method"))
def test_every_baseline_passes(name, tiny_sequence):
    results = list(check_method(name, tiny_sequence))
    assert [result for result in results if result.fault] == []
    assert len(results) == 11
