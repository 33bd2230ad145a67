"""Methods with a penalty (l2, ewc, olora, lwf), and ema, each compared with its formula."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from ril_bench import registry
from tests.tiny import bound, prediction, trained, training, weights

L2, Ewc, OLora, Lwf, Ema, Rid = (
    registry.load("method", name) for name in ("l2", "ewc", "olora", "lwf", "ema", "rid")
)


class Linear:
    """A model that predicts W x, where W is the adapter's only factor; has what EWC needs."""

    def __init__(self):
        self.weight = torch.nn.Parameter(torch.tensor([[1.0, -2.0], [0.5, 3.0]]))
        self.adapters = {}

    def add_adapter(self, name, seed_key):
        self.adapters[name] = None

    def activate(self, scales, train):
        pass

    def adapter_parameters(self, name):
        return {"W": self.weight}

    def decode(self, x):
        return x


X = torch.tensor([[1.0, 2.0], [-1.0, 0.5], [3.0, -1.0]])
V = torch.tensor([[1.0, 1.0], [2.0, -1.0], [0.0, 1.0]])


class LinearTask:
    key = (0,)

    def states(self, model, n):
        for x, v in zip(X[:n], V[:n], strict=True):
            eps = model.weight @ x
            yield SimpleNamespace(
                noise=v, prediction=SimpleNamespace(output=eps, prompts=[""], x0=lambda eps=eps: eps)
            )

    def reward(self, images, prompts):
        return (images**2).sum()[None]


def remembered(**options):
    model = Linear()
    method = bound(Ewc(samples=3, **options), model)
    method.start_task(LinearTask(), model)
    method.end_task(LinearTask(), model)
    return model, method


# -- ewc -----------------------------------------------------------------------------------------------------


def test_the_policys_fisher_of_a_linear_model_by_hand():
    """d<v, W x>/dW = v x' is squared for each sample, summed, and divided by the mean."""
    _, method = remembered()
    squares = torch.tensor(
        [[1.0 * 1 + 4 * 1 + 0 * 9, 1 * 4 + 4 * 0.25 + 0 * 1], [1 * 1 + 1 * 1 + 9, 4 + 0.25 + 1]]
    )
    ((importance, anchor),) = method._terms
    torch.testing.assert_close(importance["W"], squares / squares.mean())
    torch.testing.assert_close(anchor["W"], torch.tensor([[1.0, -2.0], [0.5, 3.0]]))


def test_the_squared_gradients_of_a_reward_by_hand():
    """r = |W x|^2, dr/dW = 2 W x x'."""
    model, method = remembered(importance="reward")
    W = model.weight.detach()
    squares = sum((2 * torch.outer(W @ x, x)) ** 2 for x in X)
    torch.testing.assert_close(method._terms[0][0]["W"], squares / squares.mean())


def test_the_square_of_each_samples_gradient_not_of_their_mean():
    _, method = remembered()
    together = (sum(torch.outer(v, x) for v, x in zip(V, X, strict=True))) ** 2
    assert not torch.allclose(method._terms[0][0]["W"], together / together.mean())


@pytest.mark.parametrize("terms", ["online", "per task"])
def test_its_penalty_by_hand(terms):
    model, method = remembered(strength=3.0, terms=terms, decay=0.5)
    first = method._terms[0][0]["W"].clone()
    with torch.no_grad():
        model.weight.add_(0.1)
    method.end_task(LinearTask(), model)  # the same importance: the prediction is linear
    with torch.no_grad():
        model.weight.add_(0.2)
    if terms == "online":
        expected = 3 / 2 * (1.5 * first * 0.2**2).sum()
    else:
        expected = 3 / 2 * (first * (0.3**2 + 0.2**2)).sum()
    torch.testing.assert_close(method.weight_loss(), expected)


def test_nothing_holds_the_first_task():
    model = Linear()
    assert bound(Ewc(), model).weight_loss() is None
    assert bound(L2(), model).weight_loss() is None


def test_its_importance_is_of_visited_states_and_counted(tiny_model):
    one = training(tiny_model, bound(Ewc(samples=10), tiny_model))
    tiny_model.counter.clear()
    one.method.end_task(one.tasks[1], tiny_model)
    graded = {batch: n for (kind, has, batch), n in tiny_model.counter.items() if has and kind == "denoiser"}
    assert graded == {2: 10}  # one sample in each call, with guidance
    (importance, _), *_ = one.method._terms
    sizes = sum(f.numel() for f in importance.values())
    assert sum(f.sum().item() for f in importance.values()) / sizes == pytest.approx(1.0, rel=1e-5)


def test_ewc_with_equal_importance_is_l2(tiny_model):
    l2, ewc = bound(L2(strength=2.0), tiny_model), bound(Ewc(strength=2.0), tiny_model)
    trained(tiny_model, l2, [1])
    factors = tiny_model.adapter_parameters("adapter")
    ewc._terms = [({name: torch.ones_like(w) for name, w in factors.items()}, l2._anchor)]
    with torch.no_grad():
        for weight in factors.values():
            weight.add_(0.01)
    torch.testing.assert_close(ewc.weight_loss(), l2.weight_loss())
    total = sum(weight.numel() for weight in factors.values())
    assert l2.weight_loss().item() == pytest.approx(total * 0.01**2, rel=1e-3)


@pytest.mark.parametrize("method", [L2, Ewc])
def test_what_a_penalty_on_weights_does(tiny_model, method):
    """A strong penalty keeps the weights near those at the end of the last task."""
    options = {"samples": 4} if method is Ewc else {}
    moved = []
    for strength in (0.0, 1e4):
        for name in list(tiny_model.adapters):
            tiny_model.delete_adapter(name)
        one = bound(method(strength=strength, **options), tiny_model)
        trained(tiny_model, one, [1])
        before = {name: w.detach().clone() for name, w in tiny_model.adapter_parameters("adapter").items()}
        training(tiny_model, one, 2, updates=10).run(lambda line: None)
        after = tiny_model.adapter_parameters("adapter")
        moved.append(sum((after[name] - w).square().sum().item() for name, w in before.items()))
    assert moved[1] < 0.5 * moved[0]


# -- olora ---------------------------------------------------------------------------------------------------


def test_the_overlap_of_what_two_adapters_read(tiny_model):
    method = bound(OLora(strength=2.0), tiny_model)
    training(tiny_model, method, 1)
    assert method.weight_loss() is None
    training(tiny_model, method, 2)
    first, second = (tiny_model.adapter_parameters(f"task-{i}") for i in (1, 2))
    pairs = [(first[name], second[name]) for name in first if "lora_A" in name]
    expected = 2.0 * sum(sum((a @ b) ** 2 for a in old for b in new) for old, new in pairs)
    torch.testing.assert_close(method.weight_loss(), expected)
    method.weight_loss().backward()
    assert all(parameter.grad is None for parameter in first.values())


# -- lwf -----------------------------------------------------------------------------------------------------


def test_rid_whose_teacher_never_moves_is_lwf_to_the_bit(tiny_model):
    methods = Lwf(strength=10.0), Rid(strength=10.0, decay=1.0), Rid(strength=10.0, decay=0.5)
    models = [copy.deepcopy(tiny_model) for _ in methods]
    for model, method in zip(models, methods, strict=True):
        trained(model, method)
    lwf, rid, moving = ([weights(model, f"task-{i}") for i in (1, 2)] for model in models)
    assert rid == lwf
    assert moving != lwf


def test_lwf_compares_noise_latents_or_images(tiny_model):
    found = {}
    for space in ("noise", "x0", "image"):
        model = copy.deepcopy(tiny_model)
        method = Lwf(strength=1.0, space=space)
        trained(model, method, [1])
        now, before = (prediction(one) for one in (model, tiny_model))
        found[space] = method.prediction_loss(now).item()
        student, target = (
            {"noise": each.output, "x0": each.x0(), "image": model.decode(each.x0())}[space]
            for each in (now, before)
        )
        assert found[space] == pytest.approx((student - target).square().mean().item(), rel=1e-3)
    assert len(set(found.values())) == 3


# -- ema -----------------------------------------------------------------------------------------------------


def test_a_task_ends_part_of_the_way_to_its_average(tiny_model):
    method, found = bound(Ema(decay=0.5, pull=0.25), tiny_model), []
    one = training(tiny_model, method, 1, updates=3)
    one.run(lambda line: found.append({k: d.clone() for k, d in tiny_model.delta("task-1").items()}))
    method.end_task(one.tasks[1], tiny_model)
    assert tiny_model.active == {"task-1": 0.25}
    for layer, kept in tiny_model.delta("task-1").items():
        average = (0.125 * found[0][layer] + 0.25 * found[1][layer] + 0.5 * found[2][layer]) / 0.875
        U, S, V = torch.linalg.svd(average)
        nearest = (U[:, :2] * S[:2]) @ V[:2]  # of the adapter's rank
        torch.testing.assert_close(kept, nearest, atol=1e-6, rtol=1e-4)


def test_an_adapter_takes_any_delta_of_its_rank(tiny_model):
    tiny_model.add_adapter("one", seed_key=(0,))
    wanted = {
        k: torch.outer(torch.arange(d.shape[0]) * 0.1, torch.ones(d.shape[1]))
        for k, d in tiny_model.delta("one").items()
    }
    tiny_model.set_delta("one", wanted)
    for layer, delta in tiny_model.delta("one").items():
        torch.testing.assert_close(delta, wanted[layer], atol=1e-5, rtol=1e-5)
