"""Folded adapters, compared with PEFT's live layers and its `fuse_lora`."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft.tuners.lora import LoraLayer

from ril_bench.diffusion.adapter_spec import AdapterSpec
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.machine.compute import Compute
from tests.diffusion.two_adapters import PROMPTS, live_predict, no_grad_predict, weights

SPEC = AdapterSpec(rank=2, alpha=2.0, targets=("to_q", "to_v"))


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(a=st.floats(-1, 1), bb=st.floats(-1, 1))
def test_folded_is_the_live_layers(model, x, a, bb):
    model.activate({"a": a, "bb": bb})
    torch.testing.assert_close(no_grad_predict(model, x), live_predict(model, x), rtol=1e-4, atol=1e-5)


def test_folded_is_peft_merging(model, x, tiny_pipeline):
    model.activate({"a": 1.0, "bb": 0.5})
    folded = no_grad_predict(model, x)
    model.denoiser.fuse_lora()
    torch.testing.assert_close(folded, live_predict(model, x), rtol=1e-4, atol=1e-5)


def test_folded_bypasses_the_lora_layers_and_puts_all_back_to_the_bit(model, x):
    model.activate({"a": 1.0, "bb": 0.5}, train=["a"])
    before, modules = weights(model), dict(model.denoiser.named_modules())

    def interrupted():
        with model.folded():
            assert not any(isinstance(module, LoraLayer) for module in model.denoiser.modules())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    after = weights(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert dict(model.denoiser.named_modules()) == modules
    assert model.parameters() == list(model.adapter_parameters("a").values())


def test_folded_takes_scales_of_its_own(model, x, tiny_pipeline):
    model.activate({"a": 1.0}, train=["a"])
    with torch.no_grad(), model.folded({"a": 0.5, "bb": 2.0}):
        own = model.predict(x, 501, PROMPTS, 3.0)
    with torch.no_grad(), model.folded({}):
        pretrained = model.predict(x, 501, PROMPTS, 3.0)
    model.activate({"a": 0.5, "bb": 2.0})
    torch.testing.assert_close(own, live_predict(model, x), rtol=1e-4, atol=1e-5)
    fresh = DiffusionModel.load(str(tiny_pipeline), adapter=model.spec)
    assert torch.equal(pretrained, no_grad_predict(fresh, x))


def test_an_average_is_one_of_deltas(model, x):
    model.activate({"a": 1.0})
    a, bb = model.delta("a"), model.delta("bb")
    for path, layer in model._layers.items():
        torch.testing.assert_close(a[path], layer.get_delta_weight("a"))
    mean = {path: (a[path] + bb[path]) / 2 for path in a}
    with torch.no_grad(), model.folded({}, deltas=mean):
        folded = model.predict(x, 501, PROMPTS, 3.0)
    model.activate({"a": 0.5, "bb": 0.5})
    torch.testing.assert_close(folded, live_predict(model, x), rtol=1e-4, atol=1e-5)


def test_folding_while_a_graph_is_open_leaves_its_gradient_alone(model, x):
    model.activate({"a": 1.0, "bb": 1.0}, train=["a"])

    def gradient(between):
        x0 = x.clone().requires_grad_()
        eps = model.predict(x0, 501, PROMPTS, 3.0)
        between()
        return torch.autograd.grad(eps.square().sum(), [x0, *model.parameters()])

    def teacher():
        with torch.no_grad(), model.folded({"bb": 3.0}):
            model.predict(x, 501, PROMPTS, 3.0)

    for a, b in zip(gradient(teacher), gradient(lambda: None), strict=True):
        assert torch.equal(a, b)


def test_the_gradient_of_the_latents_through_folded_weights_outlives_the_folding(model, x):
    model.activate({"a": 1.0})
    x0 = x.clone().requires_grad_()
    with model.folded({"bb": 1.0}):
        folded = model.predict(x0, 501, PROMPTS, 1.0)
    (through_folded,) = torch.autograd.grad(folded.square().sum(), x0)
    model.activate({"bb": 1.0})
    live = model.denoiser(x0, 501, encoder_hidden_states=model.embed(PROMPTS)).sample
    (through_live,) = torch.autograd.grad(live.square().sum(), x0)
    torch.testing.assert_close(through_folded, through_live, rtol=1e-4, atol=1e-5)


def test_no_folding_within_folding_and_no_changes(model):
    with model.folded():
        assert model.is_folded
        with pytest.raises(RuntimeError, match="folded"), model.folded({}):
            pass
        with pytest.raises(RuntimeError, match="folded"):
            model.activate({"a": 1.0})
        with model.folded_once():
            pass
        assert model.is_folded
    assert not model.is_folded


@pytest.fixture
def half(tiny_pipeline):
    """A model in bfloat16, with an adapter that changes weights by a thousandth of them."""
    model = DiffusionModel.load(str(tiny_pipeline), adapter=SPEC, compute=Compute(dtype="bfloat16"))
    model.add_adapter("a", seed_key=(1,))
    with torch.no_grad():
        for number, (name, factor) in enumerate(model.adapter_parameters("a").items()):
            if ".lora_B." in name:
                draws = torch.Generator().manual_seed(number)
                factor.copy_(1e-3 * torch.randn(factor.shape, generator=draws))
    model.activate({"a": 1.0}, train=["a"])
    return model


def test_in_half_precision_a_call_without_gradient_is_the_live_one_to_the_bit(half, x):
    assert torch.equal(no_grad_predict(half, x), half.predict(x, 501, PROMPTS, 3.0).detach())


def test_in_half_precision_a_delta_is_added_up_to_the_rounding_of_one_layer(half):
    """Layer by layer: how far rounding spreads through a whole denoiser depends on the machine's kernels."""
    deltas = {path: 3000 * one for path, one in half.delta("a").items()}
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad(), half.folded({}, deltas=deltas):
        for path, delta in deltas.items():
            layer, base = half.denoiser.get_submodule(path), half._layers[path].get_base_layer()
            x = torch.randn(4, base.in_features, generator=draws).bfloat16()
            bias = torch.zeros(base.out_features) if base.bias is None else base.bias
            weight, change, bias, exact_x = (one.double() for one in (base.weight, delta, bias, x))
            error = (layer(x).double() - F.linear(exact_x, weight + change, bias)).abs()
            # delta, its product, W x + bias and their sum are rounded, each by at most 2^-8 of its terms
            terms = F.linear(exact_x.abs(), weight.abs() + change.abs(), bias.abs())
            assert (error <= 4 * 2**-8 * terms).all()
            assert (F.linear(exact_x, change).abs() > 4 * 2**-8 * terms).any(), "the delta is above rounding"
