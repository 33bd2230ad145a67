"""Methods that a run refuses: `check` says the same, and no check after it gives a wrong hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from ril_bench.conformance.method import check_method

METHOD = '''
import torch
from ril_bench import Method

class Mine(Method):
    """A method."""

    def start_task(self, task, model):
        self._model = model
        if "a" not in model.adapters:
            model.add_adapter("a", seed_key=task.key)
        model.activate({{"a": 1.0}}, train=["a"])

    def {hook}:
        model = self._model
        {code}
'''
FAULTS = {
    "with torch.no_grad(): next(model.denoiser.parameters()).mul_(1.5)": "changes weights of the pretrained model",
    "next(model.denoiser.parameters()).data.mul_(1.5)": "changed weights of the pretrained model",
    "next(model.pipe.text_encoder.parameters()).data.mul_(1.5)": "changed weights of the pretrained model",
    "torch.set_grad_enabled(False)": "leaves a state changed after after_update",
    "model.counter.clear()": "changes the count of the calls",
    "model.activate({})": "changes which adapters train",
}


@pytest.mark.slow
@pytest.mark.parametrize("code", FAULTS)
def test_the_first_fault_is_the_only_one(tiny_sequence: str, tmp_path: Path, code: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(METHOD.format(hook="after_update(self)", code=code))
    faults = [result for result in check_method(str(file), tiny_sequence) if result.fault]
    assert len(faults) == 1
    assert FAULTS[code] in str(faults[0].fault)
    assert str(file) in str(faults[0].fault)
    assert "draw random numbers" not in str(faults[0].hint)


def test_a_list_as_a_state(tiny_sequence: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(METHOD.format(hook="state_dict(self)", code="return [1]"))
    faults = [result.fault for result in check_method(str(file), tiny_sequence) if result.fault]
    assert len(faults) == 1
    assert "state_dict returned [1]; it must be a dict" in faults[0]
