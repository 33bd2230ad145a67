"""FlowBP's variants of drtune, compared with one graph through the whole rollout in float64."""

import pytest
import torch

from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.tuners.base import MicroBatch
from ril_bench.tuners.drtune import Drtune
from tests.tiny import PROMPTS as TINY_PROMPTS
from tests.tiny import reward_task
from tests.toy import PROMPTS, SHAPE, DoubleDraws, ToyModel, colourful, relative_gap, toy_task, update

UPDATES = [DoubleDraws((7, number), range(8)) for number in range(3)]


def penalty_of(prediction):
    return 0.1 * (prediction.x0() - 0.3).square().mean()


def by_one_graph(model, task, draws, trained, stop, bridge, alpha, cap):
    """x_j = alpha x_j + (1 - alpha) sg(x_j) at the bridge; all other inputs, and untrained noises, are detached."""
    ddim, x, penalty = task.sampler, draws.normal("init", shape=SHAPE), torch.zeros(())
    for i, t in enumerate(ddim.timesteps[: stop + 1]):
        given = alpha * x + (1 - alpha) * x.detach() if i == bridge else x.detach()
        eps = model.predict(given, t, PROMPTS, task.guidance)
        if i in trained:
            alone = model.predict(x.detach(), t, PROMPTS, task.guidance)
            penalty = penalty + 0.1 * (ddim.x0hat(x.detach(), alone, i) - 0.3).square().mean() / len(trained)
        else:
            eps = eps.detach()
        if i == stop:
            x = ddim.x0hat(x, eps, i)
        else:
            x = ddim.a[i] * x + ddim.b[i] * eps + ddim.sigma[i] * draws.normal("step", i, shape=SHAPE)
    reward = colourful(model.decode(x), PROMPTS)
    loss = (-reward if cap is None else torch.relu(cap - reward)).mean()
    return torch.autograd.grad(loss + penalty, model.parameters())


@pytest.mark.parametrize(("micro_batch", "predicts"), [(8, "noise"), (2, "noise"), (4, "flow")])
@pytest.mark.parametrize("draws", UPDATES)
@pytest.mark.parametrize(
    "options",
    [
        {"k": 4, "m": 0, "late": 1.0, "cap": 4.0},
        {"k": 5, "m": 0, "late": 4.0, "bridge": 0.5},
        {"k": 2, "m": 0, "late": 0.0, "bridge": 1.0},
        {"k": 3, "m": 4, "bridge": 0.3},
    ],
    ids=str,
)
def test_the_gradient_is_that_of_one_graph(options, draws, micro_batch, predicts):
    model, task, tuner = ToyModel(), toy_task(10, predicts=predicts), Drtune(spread="late", **options)
    tuner.start_task(task, model)
    trained, stop = tuner._steps(10, draws)
    alpha = options.get("bridge")
    bridge = None if alpha is None else tuner._anchor(stop, draws)
    early = [] if bridge is None else [i for i in trained if i < bridge]
    if bridge is not None:
        assert bridge in trained
        assert early
    expected = by_one_graph(model, task, draws, trained, stop, bridge, alpha or 0.0, options.get("cap"))
    found, _ = update(model, task, tuner, micro_batch, penalty_of, draws)
    assert relative_gap(found, expected) < 1e-10


def test_late_steps_are_drawn_more_often():
    tuner, counts, updates = Drtune(k=1, m=0, spread="late", late=2.0), torch.zeros(6), 3000
    for number in range(updates):
        (step,), stop = tuner._steps(6, Draws((number,), range(2)))
        assert stop == 5
        counts[step] += 1 / updates
    weights = torch.arange(1.0, 7.0) ** 2
    assert (counts - weights / weights.sum()).abs().max() < 0.03


def test_a_bridge_has_trained_steps_on_both_sides_in_proportion():
    tuner, sides = Drtune(k=5, m=0, spread="late", late=4.0, bridge=0.5), []
    for number in range(300):
        draws = Draws((number,), range(2))
        trained, stop = tuner._steps(20, draws)
        bridge = tuner._anchor(stop, draws)
        assert len(set(trained)) == 5
        assert bridge in trained
        assert trained[0] < bridge
        sides.append((sum(i < bridge for i in trained), bridge))
    assert all(abs(before - 5 * bridge / 20) <= 1 for before, bridge in sides)
    assert {bridge for _, bridge in sides} == set(range(1, 20))


def test_a_bridge_takes_one_call_more(tiny_model):
    tiny_model.add_adapter("new", seed_key=("new",))
    tiny_model.activate({"new": 1.0}, train=["new"])
    task = reward_task(tiny_model)  # 3 steps, guided
    for bridge, more in ((None, {}), (0.5, {("denoiser to latents", True, 8): 1})):
        tuner = Drtune(k=2, m=0, spread="late", bridge=bridge)
        tiny_model.counter.clear()
        tuner.accumulate(tiny_model, task, MicroBatch(TINY_PROMPTS, Draws((0,), range(4))))
        assert tiny_model.counter == {
            ("denoiser", False, 8): 3,
            ("denoiser", True, 8): 2,
            ("decode", True, 4): 1,
            ("reward:brightness", True, 4): 1,
            **more,
        }


def test_a_bridge_needs_a_step_before_it():
    with pytest.raises(UserError, match="needs spread: late"):
        Drtune(bridge=0.5, k=2)
    with pytest.raises(UserError, match="k of at least 2"):
        Drtune(bridge=0.5, k=1, spread="late")
    with pytest.raises(UserError, match="trained step before it"):
        Drtune(bridge=0.5, spread="late").start_task(toy_task(10), ToyModel())
