"""Methods and tuners that leave a run in another state: the failure names file, line and hook."""

from __future__ import annotations

import timeit
from pathlib import Path
from typing import Any

import pytest

from ril_bench.diffusion.frozen import FrozenWeights
from ril_bench.errors import MethodError, NumericalError
from ril_bench.methods import Method
from ril_bench.running import checkpoints
from ril_bench.running.hooks import watched
from tests.running.left_states import LEFT_ON, STATES
from tests.running.stopping import status
from tests.tiny import LoraPerTask, runner, trained, write_sequence

pytestmark = pytest.mark.usefixtures("nothing_is_left")

METHOD = """
import itertools, os, torch
from torch import nn
from ril_bench import Method

class Mine(Method):
    def bind(self, model):
        self._model = model
        BIND

    def start_task(self, task, model):
        model.add_adapter(f"a{task.index}", seed_key=task.key)
        model.activate({f"a{task.index}": 1.0}, train=[f"a{task.index}"])
        START_TASK

    def HOOK:
        model, first = self._model, lambda part: next(part.parameters())
        CODE
"""
HOOKS = {
    "bind": "bind",
    "parameters": "parameters(self)",
    "turn": "turn(self, update)",
    "prediction_loss": "prediction_loss(self, prediction)",
    "weight_loss": "weight_loss(self)",
    "adjust_gradients": "adjust_gradients(self)",
    "after_update": "after_update(self)",
    "end_task": "end_task(self, task, _)",
    "state_dict": "state_dict(self)",
}


def write_method(folder: Path, hook: str, code: str) -> Path:
    file = folder / "mine.py"
    text = METHOD.replace("BIND", code if hook == "bind" else "pass")
    text = text.replace("START_TASK", code if hook == "start_task" else "pass")
    if hook in ("bind", "start_task"):
        hook, code = "after_update", "pass"
    file.write_text(text.replace("HOOK", HOOKS[hook]).replace("CODE", code))
    return file


def failure(sequence: str, folder: Path, hook: str, code: str) -> MethodError:
    """The failure of a run whose method has this code in a hook."""
    file = write_method(folder, hook, code)
    failing = runner(sequence, folder / "out", str(file), settings=["budget.updates=1"])
    with pytest.raises(MethodError) as caught:
        failing.execute()
    error = caught.value
    assert error.exit_code == 2
    assert str(file) in str(error.where)
    assert hook in f"{error}"
    assert error.hint
    assert status(failing.folder.path)["failure"]["class"] == "method"
    return error


@pytest.mark.parametrize("code", STATES)
def test_a_state_that_a_hook_leaves_changed(tiny_sequence: str, tmp_path: Path, code: str) -> None:
    assert STATES[code] in failure(tiny_sequence, tmp_path, "after_update", code).what


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["start_task", *HOOKS])
def test_every_hook_must_leave_the_state(tiny_sequence: str, tmp_path: Path, hook: str) -> None:
    code = "torch.set_default_dtype(torch.float64); return " + {"parameters": "[]", "state_dict": "{}"}.get(
        hook, "None"
    )
    error = failure(tiny_sequence, tmp_path, hook, code)
    assert f"{LEFT_ON} {hook}: default dtype" in error.what


def test_inference_mode_that_is_left_on(tiny_sequence: str, tmp_path: Path) -> None:
    code = "self._mode = torch.inference_mode(); self._mode.__enter__()"
    file = write_method(tmp_path, "after_update", code)
    failing = runner(tiny_sequence, tmp_path / "out", str(file))
    with pytest.raises(MethodError, match="after_update: inference mode is True"):
        failing.execute()
    failing.method._mode.__exit__(None, None, None)


MODEL = {  # what a hook does to the model: a part of the message
    "self._open = model.folded(); self._open.__enter__()": "leaves adapters folded into the weights",
    "model.delete_adapter(model.trained[0])": "changes which adapters train, to none",
    "model.activate({})": "changes which adapters train, to none",
    "model.parameters()[0].data = torch.zeros(1)": "replaces parameters of an adapter that trains",
    "model.parameters()[0].requires_grad_(False)": "replaces parameters of an adapter that trains",
    "model.counter.clear()": "changes the count of the calls",
    "model.counter['mine'] += 1": "changes the count of the calls",
    "model.counter = type(model.counter)()": "changes the count of the calls",
    "model.dtype = torch.float64": "replaces a part of the model",
    "model.denoiser.train()": "replaces a part of the model, or changes its mode",
}


@pytest.mark.parametrize("code", MODEL)
def test_what_a_hook_must_not_do_to_a_model(tiny_sequence: str, tmp_path: Path, code: str) -> None:
    error = failure(tiny_sequence, tmp_path, "after_update", code)
    assert MODEL[code] in error.what


@pytest.mark.parametrize(
    ("hook", "code"),
    [
        ("bind", "model.add_adapter('early', seed_key=(1,))"),
        ("end_task", "model.parameters()[0].data = torch.zeros(1)"),
        ("adjust_gradients", "model.activate({})"),
        ("turn", "model.activate({})"),
        ("weight_loss", "model.counter.clear()"),
        ("adjust_gradients", "yield"),
    ],
)
def test_other_hooks_must_not_either(tiny_sequence: str, tmp_path: Path, hook: str, code: str) -> None:
    failure(tiny_sequence, tmp_path, hook, code)


WEIGHTS = {  # how a weight is reached: its name
    "first(model.denoiser).mul_(1.5)": "unet.",
    "first(model.denoiser).data.mul_(1.5)": "unet.",
    "first(model.pipe.vae).add_(0.01)": "vae.",
    "first(model.pipe.vae).data.add_(0.01)": "vae.",
    "first(model.pipe.text_encoder).data.zero_()": "text_encoder.",
    "first(model.denoiser).data = first(model.denoiser).data.flip(0)": "unet.",
    "first(model.denoiser).requires_grad_(True)": "unet.",
    "model.denoiser.conv_in.weight = nn.Parameter(2 * model.denoiser.conv_in.weight)": "unet.conv_in.weight",
}


SEEN, UNSEEN = list(WEIGHTS)[:2]  # by torch's counter of changes, and only in the bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "code"),
    [
        *(("after_update", code) for code in WEIGHTS),
        *((hook, code) for hook in ("bind", "start_task", "end_task", "turn") for code in (SEEN, UNSEEN)),
    ],
)
def test_a_pretrained_weight_that_changes(tiny_sequence: str, tmp_path: Path, hook: str, code: str) -> None:
    code = f"first = lambda part: next(part.parameters())\n        with torch.no_grad(): {code}"
    file = write_method(tmp_path, hook, code)
    failing = runner(tiny_sequence, tmp_path / "out", str(file), settings=["budget.updates=1"])
    with pytest.raises(MethodError, match="weights of the pretrained model: ") as caught:
        failing.execute()
    name = next(name for part, name in WEIGHTS.items() if part in code)
    assert f"the pretrained model: {name}" in caught.value.what
    assert str(file) in str(caught.value.where)
    assert caught.value.exit_code == 2
    assert "the pretrained weights are frozen" in str(caught.value.hint)


def test_folding_and_adapters_change_no_pretrained_weight(tiny_model: Any) -> None:
    frozen = FrozenWeights(tiny_model)
    trained(tiny_model, LoraPerTask())
    with tiny_model.folded():
        pass
    tiny_model.delete_adapter("task-1")
    assert frozen.changed() == frozen.touched() == []


PARAMETERS = {  # what `parameters` returns: a part of the message
    "[{'params': model.parameters()}, {'params': model.parameters()}]": "parameters returned {'params'",
    "[*model.parameters(), *model.parameters()]": "a weight of an adapter",
    "model.parameters()": "a weight of an adapter",
    "[first(model.denoiser).requires_grad_()]": "a weight of the pretrained model",
    "[nn.Parameter(first(model.pipe.vae).data)]": "vae.",
    "[first(model.pipe.text_encoder)]": "text_encoder.",
    "2 * [nn.Parameter(torch.ones(1))]": "the same parameter twice",
    "[nn.Parameter(torch.ones(1, device='meta'))]": "parameters returned",
}


@pytest.mark.parametrize("returned", PARAMETERS)
def test_parameters_of_the_model_are_no_methods(tiny_sequence: str, tmp_path: Path, returned: str) -> None:
    assert PARAMETERS[returned] in failure(tiny_sequence, tmp_path, "parameters", f"return {returned}").what


STATE_DICTS = {  # what `state_dict` returns: a part of the message
    "(lambda d: d.update(d=d) or d)({})": "state_dict()['d'] contains itself",
    "(lambda l: l.append(l) or {'l': l})([])": "contains itself",
    "{'x': torch.ones(1, device='meta')}": "state_dict()['x'] is a tensor on the device meta",
    "[1]": "state_dict returned [1]; it must be a dict",
    "None": "state_dict returned None",
    "{'x': {1}}": "is a set",
    "{torch.ones(1): 1}": "a key of state_dict() is a Tensor",
    "{'x': torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}": "a checkpoint holds plain tensors only",
    "__import__('functools').reduce(lambda d, _: {'d': d}, range(500), {})": "levels deep",
}


@pytest.mark.slow
@pytest.mark.parametrize("returned", STATE_DICTS)
def test_a_state_that_cannot_be_stored(tiny_sequence: str, tmp_path: Path, returned: str) -> None:
    assert STATE_DICTS[returned] in failure(tiny_sequence, tmp_path, "state_dict", f"return {returned}").what


@pytest.mark.parametrize(
    ("hook", "code", "message"),
    [
        (
            "prediction_loss",
            "with torch.no_grad(): prediction.output.mul_(2.0)",
            "changes prediction.output in place",
        ),
        ("prediction_loss", "prediction.output.data.mul_(2.0)", "changes prediction.output in place"),
        ("prediction_loss", "return torch.ones((), device='meta')", "prediction_loss returned"),
        (
            "prediction_loss",
            "w = model.parameters()[0]; loss = w.square().sum(); loss.backward(); return loss",
            "its graph holds what prediction_loss returned",
        ),
        (
            "weight_loss",
            "w = model.parameters()[0]; loss = w.square().sum(); loss.backward(); return loss",
            "the backward of what weight_loss returned failed",
        ),
    ],
)
def test_losses_that_cannot_be_used(
    tiny_sequence: str, tmp_path: Path, hook: str, code: str, message: str
) -> None:
    assert message in failure(tiny_sequence, tmp_path, hook, code).what


def test_a_hook_with_other_arguments(tiny_sequence: str, tmp_path: Path) -> None:
    file = write_method(tmp_path, "after_update", "pass")
    file.write_text(file.read_text().replace("def after_update(self):", "def after_update(self, model):"))
    with pytest.raises(MethodError, match=r"failed: TypeError.*\(in after_update\)") as caught:
        runner(tiny_sequence, tmp_path / "out", str(file)).execute()
    assert str(caught.value.where).startswith(f"{file}:")
    assert "after_update()" in str(caught.value.hint)


TUNER = """
import torch
from ril_bench.tuners.draft import Draft

class Mine(Draft):
    def after_update(self, model):
        CODE
"""


@pytest.mark.parametrize("code", ["torch.set_default_dtype(torch.float64)", "model.activate({})"])
def test_a_tuner_is_watched_too(tiny_data: dict[str, Any], tmp_path: Path, code: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TUNER.replace("CODE", code))
    sequence = write_sequence(tmp_path / "mine.yaml", tiny_data, tuner={"name": str(file)})
    with pytest.raises(MethodError, match=r"the tuner mine .*after_update") as caught:
        runner(sequence, tmp_path / "out").execute()
    assert str(caught.value.where) == f"{file}:6"


def test_the_tables_of_a_sampler_cannot_be_changed(tiny_model: Any) -> None:
    sampler = tiny_model.sampler(3, 1.0)
    for made in (sampler, sampler.random_at([1]), sampler.with_eta(0.0)):
        tables = [value for name, value in vars(made).items() if name != "eta"]
        assert all(isinstance(table, tuple) for table in tables if isinstance(table, list | tuple))


@pytest.mark.parametrize("change", ["prediction.prompts.clear()", "prediction.x_t.zero_()"])
def test_a_method_that_changes_its_prediction_changes_nothing_else(
    tiny_sequence: str, tmp_path: Path, change: str
) -> None:
    adapters = []
    for k, code in enumerate((change, "pass")):
        (folder := tmp_path / f"{k}").mkdir()
        file = write_method(folder, "prediction_loss", code)
        settings = ["budget.updates=1", "tuner.k=full"]
        done = runner(tiny_sequence, folder / "out", str(file), settings=settings).execute()
        adapters.append((done / "step-2" / "adapter.safetensors").read_bytes())
    assert adapters[0] == adapters[1]


@pytest.mark.parametrize("hook", ["end_task", "after_update"])
def test_weights_that_are_not_finite_are_in_no_checkpoint(
    tiny_sequence: str, tmp_path: Path, hook: str
) -> None:
    file = write_method(tmp_path, hook, "model.parameters()[0].data.fill_(float('nan'))")
    settings = ["budget.updates=2"]
    failing = runner(tiny_sequence, tmp_path / "out", str(file), settings=settings, checkpoint_every=1)
    with pytest.raises(NumericalError, match="weights of the adapter a1 are not finite") as caught:
        failing.execute()
    after = "end_task" if hook == "end_task" else "update 1"
    assert caught.value.where == f"task 1, after {after}"
    kept = checkpoints.newest(failing.folder)
    assert kept is not None
    assert not kept["ended"]
    weights = [w for adapter in kept["adapters"]["adapters"] for w in adapter["weights"].values()]
    assert all(bool(weight.isfinite().all()) for weight in weights)
    assert str(checkpoints.newest_file(failing.folder)) in str(caught.value.hint)


def test_what_a_module_leaves_changed_when_it_is_imported(tiny_sequence: str, tmp_path: Path) -> None:
    file = write_method(tmp_path, "after_update", "pass")
    file.write_text(f"import torch\ntorch.set_default_dtype(torch.float64)\n{file.read_text()}")
    with pytest.raises(MethodError, match=r"mine\.py leaves a state changed .*default dtype") as caught:
        runner(tiny_sequence, tmp_path / "out", str(file))
    assert str(file) in str(caught.value.where)


class Idle(Method):
    """Its hook does nothing."""

    def after_update(self) -> None: ...


def test_a_hook_costs_little(tiny_model: Any) -> None:
    """A loose bound: the machine may be busy. On shapes-64 it is below 0.2 ms."""
    trained(tiny_model, LoraPerTask())
    method = watched(Idle(), "mine", tiny_model, FrozenWeights(tiny_model))
    calls = 200
    assert timeit.timeit(method.after_update, number=calls) / calls < 5e-3
