"""Adapters, compared with PEFT and diffusers: which exist, which train, their files and deltas."""

import math

import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.errors import UserError
from tests.diffusion.two_adapters import PROMPTS, filled, live_predict, no_grad_predict, trainable, weights

# -- which exist -----------------------------------------------------------------------------------


def test_a_new_adapter_changes_nothing(tiny_model, x):
    before = no_grad_predict(tiny_model, x)
    tiny_model.add_adapter("a", seed_key=(0,))
    assert tiny_model.active == {}
    assert trainable(tiny_model) == set()
    tiny_model.activate({"a": 1.0})
    assert torch.equal(live_predict(tiny_model, x), before)
    assert torch.equal(no_grad_predict(tiny_model, x), before)


def test_a_new_adapter_is_drawn_from_its_key(tiny_model, tiny_pipeline):
    other = DiffusionModel.load(str(tiny_pipeline), adapter=tiny_model.spec)
    torch.manual_seed(5)
    tiny_model.add_adapter("first", seed_key=(9,))  # an earlier adapter must not change the draw
    tiny_model.add_adapter("a", seed_key=(0, "a"))
    torch.manual_seed(6)
    other.add_adapter("a", seed_key=(0, "a"))
    other.add_adapter("b", seed_key=(0, "b"))
    a, same, b = (
        tiny_model.adapter_parameters("a"),
        other.adapter_parameters("a"),
        other.adapter_parameters("b"),
    )
    assert len(a) == 2 * 8
    for key, factor in a.items():
        assert torch.equal(factor, same[key])
        if "lora_A" in key:
            assert not torch.equal(factor, b[key])
            bound = 1 / math.sqrt(factor.shape[1])
            assert factor.shape[0] == 2
            assert 0.5 * bound < factor.abs().max() <= bound
        else:
            assert not factor.any()


def test_another_rank_keeps_the_scaling(model):
    assert model.adapters == {
        "a": AdapterSpec(2, 3.0, model.spec.targets),
        "bb": AdapterSpec(3, 4.5, model.spec.targets),
    }


def test_delete_leaves_the_others_as_they_were(model, x):
    model.activate({"a": 1.0}, train=["a"])
    before = no_grad_predict(model, x)
    model.delete_adapter("bb")
    assert list(model.adapters) == ["a"]
    assert model.trained == ["a"]
    assert torch.equal(no_grad_predict(model, x), before)


def test_delete_the_last_and_begin_again(model, x):
    model.activate({})
    pretrained = no_grad_predict(model, x)
    model.activate({"a": 1.0, "bb": 1.0}, train=["bb"])
    model.delete_adapter("bb")
    model.delete_adapter("a")
    assert (model.active, model.trained, model.parameters()) == ({}, [], [])
    assert torch.equal(no_grad_predict(model, x), pretrained)
    filled(model, "a")
    model.activate({"a": 1.0}, train=["a"])
    assert not torch.equal(no_grad_predict(model, x), pretrained)


def test_targets_must_be_linear_layers_of_the_denoiser(tiny_pipeline):
    for targets in (["to_q", "to_qq"], ["conv_in"]):
        model = DiffusionModel.load(str(tiny_pipeline), adapter=AdapterSpec(2, 2.0, targets))
        with pytest.raises(UserError, match="no linear layer"):
            model.add_adapter("a", seed_key=(0,))


def test_wrong_names(model):
    with pytest.raises(ValueError, match="exists already"):
        model.add_adapter("a", seed_key=(0,))
    with pytest.raises(ValueError, match="no adapter is called c"):
        model.activate({"c": 1.0})
    with pytest.raises(ValueError, match="no adapter is called c"):
        model.delete_adapter("c")
    with pytest.raises(ValueError, match="without being active"):
        model.activate({"a": 1.0}, train=["bb"])


TAKEN = ["", "forward", "training", "keys", "_modules", "a.b", "a/b", "é", "a b", "-a", "..", "a\n", None, 3]


@pytest.mark.parametrize("name", TAKEN)
def test_a_name_that_torch_cannot_hold_is_refused(tiny_model, name):
    with pytest.raises(UserError, match="an adapter cannot be called") as caught:
        tiny_model.add_adapter(name, seed_key=(0,))
    assert caught.value.hint
    assert not tiny_model.adapters


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(dir(torch.nn.Module())) | st.text(max_size=6) | st.from_regex(r"[A-Za-z0-9_-]{1,9}")
)
def test_any_name_is_refused_or_can_be_used(tiny_model, name):
    try:
        tiny_model.add_adapter(name, seed_key=(0,))
    except UserError:
        assert not tiny_model.adapters
        return
    tiny_model.activate({name: 1.0}, train=[name])
    state = tiny_model.adapter_state()
    tiny_model.load_adapter_state(state)
    tiny_model.delete_adapter(name)


# -- which are active and which train ---------------------------------------------------------------------


def test_activate_sets_requires_grad_exactly(model):
    model.activate({"a": 1.0, "bb": 1.0}, train=["bb"])
    expected = {key for key, _ in model.denoiser.named_parameters() if ".bb." in key}
    assert len(expected) == 2 * 8
    assert trainable(model) == expected
    assert {id(p) for p in model.parameters()} == {id(p) for p in model.adapter_parameters("bb").values()}
    model.add_adapter("new", seed_key=(0,))  # PEFT would make only the new one active and trainable
    assert trainable(model) == expected
    assert model.active == {"a": 1.0, "bb": 1.0}
    model.activate({"a": 1.0})
    assert trainable(model) == set()


def test_scales_are_of_deltas(model, x):
    model.activate({"a": 1.0})
    full = {path: layer.get_delta_weight("a") for path, layer in model._layers.items()}
    model.activate({"a": 0.25, "bb": 1.0})
    for path, layer in model._layers.items():
        torch.testing.assert_close(layer.get_delta_weight("a"), 0.25 * full[path])


def test_a_frozen_adapter_keeps_its_bytes(model, x):
    model.activate({"a": 1.0, "bb": 1.0}, train=["bb"])
    before = weights(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    model.predict(x, 501, PROMPTS, 3.0).square().mean().backward()
    optimizer.step()
    changed = {key for key, weight in weights(model).items() if not torch.equal(weight, before[key])}
    assert changed == trainable(model)


def test_no_change_while_a_graph_is_open(model, x):
    model.activate({"a": 1.0}, train=["a"])
    loss = model.predict(x, 501, PROMPTS, 3.0).mean()
    for change in (
        lambda: model.activate({"bb": 1.0}),
        lambda: model.add_adapter("new", seed_key=(0,)),
        lambda: model.delete_adapter("bb"),
    ):
        with pytest.raises(RuntimeError, match="graph is open"):
            change()
    assert (model.active, list(model.adapters)) == ({"a": 1.0}, ["a", "bb"])
    loss.backward()
    model.activate({"bb": 1.0})


def test_a_graph_that_is_dropped_is_not_open(model, x):
    model.activate({"a": 1.0}, train=["a"])
    first, second = model.predict(x, 501, PROMPTS, 3.0), model.predict(x, 1, PROMPTS, 3.0)
    second.mean().backward()
    with pytest.raises(RuntimeError, match="graph is open"):
        model.activate({})
    del first
    model.activate({})


def test_watching_leaves_the_gradient_alone(model, x):
    model.activate({"a": 1.0}, train=["a"])
    watched = torch.autograd.grad(model.predict(x, 501, PROMPTS, 1.0).square().sum(), model.parameters())
    plain = model.denoiser(x, 501, encoder_hidden_states=model.embed(PROMPTS)).sample.square().sum()
    for a, b in zip(watched, torch.autograd.grad(plain, model.parameters()), strict=True):
        torch.testing.assert_close(a, b)


# -- files and resumes -----------------------------------------------------------------------------


def test_diffusers_opens_the_joined_adapter_and_makes_the_same_images(model, tiny_pipeline, tmp_path, x):
    model.activate({"a": 0.7, "bb": 1.0}, train=["bb"])
    (tmp_path / "adapter.safetensors").write_bytes(model.lora_bytes())
    pipe = StableDiffusionPipeline.from_pretrained(tiny_pipeline, safety_checker=None)
    options = {"latents": x, "num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "pt"}
    pretrained = pipe(PROMPTS, **options).images
    pipe.load_lora_weights(tmp_path, weight_name="adapter.safetensors")
    theirs = pipe(PROMPTS, **options).images
    assert (theirs - pretrained).abs().max() > 0.01, "the adapter must show"

    state = safetensors.torch.load_file(tmp_path / "adapter.safetensors")
    assert {weight.shape[0] for key, weight in state.items() if "lora_A" in key} == {5}
    scheduler = pipe.scheduler
    scheduler.set_timesteps(3)
    for folding in (model.folded(), model.folded_lora(state)):
        latents = x
        with torch.no_grad(), folding:
            for t in scheduler.timesteps:
                eps = model.predict(latents, int(t), PROMPTS, 3.0)
                latents = scheduler.step(eps, t, latents).prev_sample
            torch.testing.assert_close(model.decode(latents), theirs, rtol=1e-4, atol=1e-4)


def test_a_joined_adapter_acts_alone_in_any_model(model, tiny_pipeline, x):
    model.activate({"a": 1.0, "bb": 1.0})
    state = safetensors.torch.load(model.lora_bytes())
    expected = no_grad_predict(model, x)
    model.activate({"bb": 3.0}, train=["bb"])
    for other in (model, DiffusionModel.load(str(tiny_pipeline), adapter=model.spec)):
        before = weights(other)
        with torch.no_grad(), other.folded_lora(state):
            torch.testing.assert_close(other.predict(x, 501, PROMPTS, 3.0), expected, rtol=1e-4, atol=1e-5)
        assert all(torch.equal(weight, before[key]) for key, weight in weights(other).items())


def test_nothing_active_joins_to_nothing(model):
    model.activate({})
    assert model.joined() == {}


def test_a_lora_of_another_model_is_refused(model):
    model.activate({"a": 1.0})
    state = model.joined()
    key = next(key for key in state if "lora_A" in key)
    faults = [
        {**state, key: torch.cat([state[key]] * 2, dim=1)},
        {**state, key: torch.cat([state[key]] * 2)},
        {k: v for k, v in state.items() if k != key},
        {f"unet.elsewhere.{k.rpartition('.lora')[2]}": v for k, v in state.items()},
        {"something": torch.zeros(1)},
    ]
    for fault in faults:
        with pytest.raises(UserError, match="do not fit"), model.folded_lora(fault):
            pass
    assert not model.is_folded


def test_a_resume_rebuilds_the_adapters(model, tiny_pipeline, x):
    model.add_adapter("idle", seed_key=(3,))
    model.activate({"bb": 0.3, "a": 1.0}, train=["a"])
    state = model.adapter_state()
    other = DiffusionModel.load(str(tiny_pipeline), adapter=model.spec)
    other.add_adapter("leftover", seed_key=(4,))
    other.load_adapter_state(state)
    assert list(other.active.items()) == [("bb", 0.3), ("a", 1.0)]
    assert (other.trained, other.adapters) == (["a"], model.adapters)
    assert trainable(other) == trainable(model)
    assert torch.equal(live_predict(other, x), live_predict(model, x))
    assert torch.equal(no_grad_predict(other, x), no_grad_predict(model, x))
    for name in model.adapters:
        ours, theirs = model.adapter_parameters(name), other.adapter_parameters(name)
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_adapter_state_is_a_copy(model):
    state = model.adapter_state()
    saved = next(iter(state["adapters"][0]["weights"].values())).clone()
    with torch.no_grad():
        for parameter in model.adapter_parameters("a").values():
            parameter.add_(1)
    assert torch.equal(next(iter(state["adapters"][0]["weights"].values())), saved)


def test_a_state_of_another_model_is_refused(model):
    state = model.adapter_state()
    state["adapters"][0]["weights"].popitem()
    with pytest.raises(UserError, match="do not fit"):
        model.load_adapter_state(state)


# -- deltas and inputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 3, None])
def test_an_adapter_holds_any_delta_at_the_rank_that_it_needs(tiny_model, rank):
    tiny_model.add_adapter("one", seed_key=(0,))
    rng, wanted = torch.Generator().manual_seed(0), {}
    for layer, delta in tiny_model.delta("one").items():
        out, into = delta.shape
        inner = rank or min(out, into)
        wanted[layer] = torch.randn(out, inner, generator=rng) @ torch.randn(inner, into, generator=rng)
    tiny_model.add_delta("merged", wanted)
    assert tiny_model.adapters["merged"].rank == (rank or max(min(d.shape) for d in wanted.values()))
    for layer, delta in tiny_model.delta("merged").items():
        torch.testing.assert_close(delta, wanted[layer], atol=1e-4, rtol=1e-4)
    assert (tiny_model.active, tiny_model.trained) == ({}, [])
    tiny_model.activate({"one": 1.0, "merged": 1.0})
    fresh = tiny_model.adapter_state()
    tiny_model.load_adapter_state(fresh)  # a checkpoint holds it, whatever its rank
    assert tiny_model.adapters["merged"].rank == fresh["adapters"][1]["rank"]


def test_the_moments_of_the_inputs_of_live_layers(tiny_model):
    """The linear layers of cross-attention get the text, so their moments are known."""
    tiny_model.add_adapter("one", seed_key=(0,))
    tiny_model.activate({"one": 1.0}, train=["one"])
    x = torch.randn(2, *tiny_model.latent_shape, generator=torch.Generator().manual_seed(0))
    with tiny_model.input_moments() as moments:
        tiny_model.predict(x, 1, ["a red circle", "a"], 3.0)
        with torch.no_grad():
            tiny_model.predict(x, 1, ["a star", "a"], 1.0)  # folded: does not count
    assert set(moments) == set(tiny_model.delta("one"))
    rows = tiny_model.embed(["", "", "a red circle", "a"]).flatten(0, 1)
    layer = next(layer for layer in moments if layer.endswith("attn2.to_k"))
    torch.testing.assert_close(moments[layer], rows.T @ rows, atol=1e-4, rtol=1e-4)
    before = {layer: moment.clone() for layer, moment in moments.items()}
    tiny_model.predict(x, 1, ["a red circle", "a"], 3.0)  # outside of the context
    assert all(torch.equal(moments[layer], moment) for layer, moment in before.items())
