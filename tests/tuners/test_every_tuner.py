"""Tests that run on every tuner that ships, with methods, at smoke size."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ril_bench import registry
from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.errors import UserError
from ril_bench.rewards.jpeg import JpegKb
from ril_bench.rewards.pixels import Brightness
from ril_bench.running.fixed_images import fixed_scores
from ril_bench.running.materials import Materials
from ril_bench.running.reward_task import Unit
from ril_bench.running.training import adamw
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.storage import names
from ril_bench.storage.checkpoint import pack, unpack
from tests.pipelines import stable_diffusion_3
from tests.tiny import (
    PROMPTS,
    LoraPerTask,
    Penalised,
    bound,
    results,
    reward_task,
    runner,
    shaken,
    trained,
    training,
    weights,
    write_sequence,
)
from tests.tiny import tuner as build_tuner
from tests.tuners.variants import TUNERS, named

BATCH = 5
WITHOUT_GRADIENT = {"sft", "dpo", "spin", "ddpo", "nft", "crd"}
#: A beta of thousands, or a division by the variance of a late step, makes rounding errors larger. In float64
#: (tests/toy.py) these tuners agree to 1e-9, like the others.
ROUGH = {"dpo", "spin", "ddpo", "nabla_gflownet"}


def test_none_is_left_out():
    assert {name.partition("-")[0] for name in TUNERS} == set(registry.names("tuner"))


@pytest.fixture(params=TUNERS)
def options(request, images):
    """The options of a tuner in a sequence, for all variants of all tuners."""
    return named(request.param, images)


@pytest.fixture(params=[name for name in TUNERS if "-" not in name])
def plain(request, images):
    """The options of a tuner in a sequence, one variant of each tuner."""
    return named(request.param, images)


class Counting(LoraPerTask):
    """A penalty of exactly 2 on each differentiated call."""

    def prediction_loss(self, prediction):
        self.calls = [*getattr(self, "calls", []), prediction]
        return 2.0 + 0.0 * prediction.output.sum()


def one_update(model, method, options, size, **changes):
    """The gradients of one update of BATCH, on an adapter away from zero, and its log line."""
    one = training(
        model,
        bound(method, model),
        tuner=build_tuner(options),
        updates=1,
        batch=BATCH,
        micro_batch=size,
        **changes,
    )
    shaken(model)
    lines = []
    one.optimizer.step = lambda: None
    one.spec.optimizer.__dict__["max_grad_norm"] = 1e12
    one.run(lines.append)
    own = [parameter.grad for parameter in one.tuner.parameters() if parameter.grad is not None]
    return [
        torch.cat([g.flatten() for g in side]) for side in ([p.grad for p in model.parameters()], own) if side
    ], lines[0]


@pytest.mark.parametrize("name", ["refl", "ddpo", "spin"])
def test_a_run_of_two_tasks(name, images, tiny_data, tmp_path):
    """One tuner for each kind of need: the reward's gradient, the reward's values, images."""
    sequence = write_sequence(tmp_path / "tiny.yaml", tiny_data, tuner=named(name, images))
    run = runner(sequence, tmp_path / "out", method="rid", settings=["optimizer.lr=0.02"])
    folder = run.execute()
    steps = run.folder.read_run()["steps"]
    assert len(steps) == 3
    for step in steps[1:]:
        assert step["denoiser_forwards"] > step["denoiser_backwards"] > 0
        assert step["reward_calls"] > 0
    adapters = [results(folder)[f"step-{i}/adapter.safetensors"] for i in (1, 2)]
    assert adapters[0] != adapters[1]
    log = run.folder.read_log()
    assert len(log) == 4
    assert all(
        np.isfinite([line["score"], line["loss"], line["penalty"], line["grad_norm"]]).all() for line in log
    )
    assert all(line["grad_norm"] > 0 for line in log)
    assert log[-1]["penalty"] > 0


def test_two_tasks_under_a_penalty(tiny_model, plain):
    lines = trained(tiny_model, registry.load("method", "lwf")(), tuner=build_tuner(plain), updates=1)
    assert len(lines) == 2
    for key in ("score", "loss", "penalty", "grad_norm"):
        assert np.isfinite([line[key] for line in lines]).all()
    assert all(line["grad_norm"] > 0 for line in lines)
    assert lines[-1]["penalty"] > 0


@dataclass
class Updated:
    """What is left after one update of BATCH beside a frozen adapter."""

    options: dict[str, Any]
    model: DiffusionModel
    method: Counting
    line: dict[str, Any]

    @property
    def learns_from_images(self):
        return self.options["name"] in WITHOUT_GRADIENT


def updated_once(model, options, reward):
    model.add_adapter("frozen", seed_key=("frozen",))
    model.activate({"frozen": 1.0})
    method = Counting()
    _, line = one_update(model, method, options, BATCH, reward=reward)
    return Updated(options, model, method, line)


@pytest.fixture(scope="module", params=TUNERS)
def updated(request, images, new_model):
    return updated_once(new_model(), named(request.param, images), Brightness())


def test_the_penalty_weighs_the_same_however_many_calls_are_differentiated(updated):
    assert updated.line["penalty"] == pytest.approx(2.0, rel=1e-6)
    for prediction in updated.method.calls:
        assert prediction.output.requires_grad
        assert not prediction.x_t.requires_grad
        assert prediction.t == prediction.sampler.timesteps[prediction.step]
        assert len(prediction.prompts) == len(prediction.x_t) == len(prediction.output)


def test_no_backward_is_counted_that_is_not_run(updated):
    """The bare cost counts a call with gradient as a forward and a backward."""
    kinds = {(kind.partition(":")[0], with_gradient) for kind, with_gradient, _ in updated.model.counter}
    assert ("denoiser", True) in kinds
    assert (("reward", True) in kinds) == (not updated.learns_from_images)
    assert not (updated.learns_from_images and ("decode", True) in kinds)


def require_gradients_of_the_trained_alone(model):
    """Only what trains has a gradient, and no graph is left open."""
    parts = (model.denoiser, model.pipe.vae, model.pipe.text_encoder)
    with_gradient = {id(p) for part in parts for p in part.parameters() if p.grad is not None}
    assert with_gradient == {id(parameter) for parameter in model.parameters()}
    model.activate({"frozen": 1.0})  # refused while a graph is open


def test_only_what_trains_gets_a_gradient_and_no_graph_is_left_open(updated):
    require_gradients_of_the_trained_alone(updated.model)


@pytest.mark.parametrize("name", sorted(WITHOUT_GRADIENT))
def test_a_reward_without_gradient_can_be_raised_too(name, tiny_model, images):
    one = updated_once(tiny_model, named(name, images), JpegKb())
    require_gradients_of_the_trained_alone(one.model)


def test_an_update_does_not_depend_on_its_micro_batches(tiny_model, options):
    whole, parts = (one_update(copy.deepcopy(tiny_model), Penalised(), options, size) for size in (BATCH, 3))
    near = 1e-3 if options["name"] in ROUGH else 1e-5
    for gradient, expected in zip(parts[0], whole[0], strict=True):
        assert (gradient - expected).norm() < near * expected.norm()
    for key in ("score", "loss", "penalty"):
        assert parts[1][key] == pytest.approx(whole[1][key], rel=near, abs=near)


def test_a_resume_inside_a_task_gives_the_same_bytes(tiny_model, options):
    """Two updates with a checkpoint after the first, and the second update again, from the checkpoint.

    With `reuse`, the second update learns from the images of the first.
    """
    straight, model = copy.deepcopy(tiny_model), tiny_model
    whole = training(straight, bound(LoraPerTask(), straight), tuner=build_tuner(options), updates=2)
    checkpoints = []

    def keep(line):
        state = [straight.adapter_state(), whole.optimizer.state_dict(), whole.tuner.state_dict()]
        checkpoints.append(pack(state))

    whole.run(keep)
    adapters, optimizer, of_tuner = unpack(checkpoints[0])
    rest = training(model, bound(LoraPerTask(), model), tuner=build_tuner(options), updates=2)
    model.load_adapter_state(adapters)
    rest.tuner.start_task(
        rest.tasks[1], model
    )  # as a resume does: the model at the task's start is in the checkpoint alone
    rest.optimizer = adamw(model, rest.method, rest.tuner, rest.spec)
    rest.optimizer.load_state_dict(optimizer)
    rest.tuner.load_state_dict(of_tuner)
    rest.update = 1
    rest.run(lambda line: None)
    assert weights(model, "task-1") == weights(straight, "task-1")


@pytest.fixture(scope="module")
def new_flow_model():
    """A function that returns a new tiny transformer that matches a flow."""
    pipe = stable_diffusion_3()
    shared = {id(part): part for part in (pipe.vae, pipe.text_encoder, pipe.text_encoder_2)}
    spec = AdapterSpec(rank=2, alpha=3.0, targets=("to_q", "to_k", "to_v", "to_out.0", "add_q_proj"))
    return lambda: DiffusionModel(copy.deepcopy(pipe, dict(shared)), adapter=spec)


def test_every_tuner_trains_a_flow_matching_transformer(new_flow_model, options):
    one = updated_once(new_flow_model(), options, Brightness())
    require_gradients_of_the_trained_alone(one.model)
    assert one.line["penalty"] == pytest.approx(2.0, rel=1e-6)
    assert one.line["grad_norm"] > 0
    for key in ("score", "loss", "grad_norm"):
        assert np.isfinite(one.line[key])
    for prediction in one.method.calls:
        assert prediction.sampler.level[prediction.step] == pytest.approx(prediction.t / 1000)


def weight_changes(lora):
    """The change of all weights by a LoRA of diffusers: B A of each layer, as one vector."""
    layers = sorted(key.removesuffix(".lora_A.weight") for key in lora if key.endswith(".lora_A.weight"))
    assert layers
    deltas = [lora[f"{layer}.lora_B.weight"] @ lora[f"{layer}.lora_A.weight"] for layer in layers]
    return torch.cat([delta.flatten() for delta in deltas]).numpy()


def moved(before, after):
    """Whether a step changed the weights by more than rounding."""
    return np.isfinite(after).all() and np.abs(after - before).max() > 1e-4


METHODS = {name: registry.load("method", name) for name in registry.names("method")}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.oracle])
def test_every_method_trains_a_flow_matching_transformer(new_flow_model, name):
    model, method = new_flow_model(), METHODS[name]()
    changes = [np.zeros(1)]  # of the weights, after each step
    for step in (1, 2):
        (line,) = trained(model, method, [step], updates=1, k=2)
        assert np.isfinite([line[key] for key in ("score", "loss", "penalty", "grad_norm")]).all()
        changes.append(weight_changes(model.joined()))
        assert moved(changes[-2], changes[-1])


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.oracle])
def test_every_oracle_trains_a_flow_matching_transformer(name, tiny_data, tmp_path):
    stable_diffusion_3().save_pretrained(tmp_path / "model")
    changes = {"model": str(tmp_path / "model"), "budget": {"updates": 1, "batch": 2}}
    run = runner(write_sequence(tmp_path / "tiny.yaml", tiny_data, **changes), tmp_path / "out", method=name)
    folder = run.execute()
    assert len(run.folder.read_run()["steps"]) == 3
    assert all(np.isfinite([line["loss"], line["grad_norm"]]).all() for line in run.folder.read_log())
    one, two = (weight_changes(load_file(folder / names.adapter(step))) for step in (1, 2))
    assert moved(np.zeros(1), one)
    assert moved(one, two)


class Times(Brightness):
    """Brightness in another unit."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def score(self, images, prompts):
        return self.times * super().score(images, prompts)


def test_a_reward_in_another_unit_gives_the_same_adapters(tiny_model, options):
    """The unit is measured; so the same lr, strength, beta and clipping mean the same."""

    def adapter(times):
        model, reward = copy.deepcopy(tiny_model), Times(times)
        ddim = reward_task(model).sampler
        scores = fixed_scores(model, ddim, 3.0, PROMPTS, {"times": reward}, 4)["times"].double()
        unit = Unit(scores.mean().item(), scores.std().item())
        one = training(
            model,
            bound(Penalised(), model),
            tuner=build_tuner(options),
            task=reward_task(model, reward=reward, unit=unit),
            updates=2,
        )
        one.run(lambda line: None)
        return torch.cat([w.detach().flatten() for w in model.adapter_parameters("task-1").values()])

    # A power of two changes no rounding; Adam turns the rounding of a factor of 100 into about 1e-5 of the weights.
    small, large = adapter(1.0), adapter(128.0)
    assert (small - large).norm() < 1e-5 * small.norm()


def test_a_tuner_that_cannot_do_what_a_sequence_asks_is_refused(plain, tiny_data, tmp_path):
    file = tmp_path / "tiny.yaml"
    sequence = write_sequence(
        file, tiny_data, tuner=plain, tasks=[{"reward": "brightness"}, {"reward": "jpeg_kb"}]
    )
    materials = Materials.load(load_sequence(sequence), torch.device("cpu"))
    if "reward_gradient" not in materials.tuner(1).needs:
        materials.check_tuners()
        return
    with pytest.raises(
        UserError, match=f"the tuner {plain['name']} needs the gradient of the reward"
    ) as caught:
        materials.check_tuners()
    assert caught.value.where == "tasks.2"
    assert caught.value.hint.endswith("or one of the tuners crd, ddpo, dpo, nft, sft, spin")


@pytest.mark.parametrize("name", ["ddpo", "nabla_gflownet", "adjoint_matching"])
def test_a_fault_of_the_second_task_is_reported_before_the_first_is_trained(name, tiny_data, tmp_path):
    sequence = write_sequence(
        tmp_path / "tiny.yaml",
        tiny_data,
        sampler={"steps": 3, "guidance": 3.0, "eta": 0.0},
        tasks=[{"reward": "brightness"}, {"reward": "symmetry", "tuner": {"name": name}}],
    )
    run = runner(sequence, tmp_path / "out")
    with pytest.raises(UserError, match="eta is 0"):
        run.execute()
    assert run.folder.read_run()["steps"] == []
