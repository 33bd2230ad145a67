"""Every tuner that differentiates the reward, compared with plain autograd in float64."""

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch

from ril_bench.draws import Draws
from ril_bench.errors import UserError
from ril_bench.tuners.alignprop import Alignprop
from ril_bench.tuners.draft import Draft
from ril_bench.tuners.drtune import Drtune
from ril_bench.tuners.refl import Refl
from tests.tiny import reward_task
from tests.toy import (
    DRAWS,
    PROMPTS,
    SAMPLERS,
    SHAPE,
    DoubleDraws,
    ToyModel,
    colourful,
    implied,
    levels,
    peak_of_saved,
    relative_gap,
    toy_task,
    update,
)

UPDATES = [DoubleDraws((7, update), range(8)) for update in range(6)]


def penalty_of(prediction):
    return 0.1 * (prediction.x0() - 0.3).square().mean()


def by_plain_autograd(model, task, graded, draws, *, stop=None, detach=False, loss_of=None, penalised=False):
    """One graph through all steps. Noises outside of `graded` are detached; `detach` detaches all inputs."""
    ddim, x, penalty = task.sampler, draws.normal("init", shape=SHAPE).double(), torch.zeros(())
    for i, t in enumerate(ddim.timesteps):
        eps = model.predict(x.detach() if detach else x, t, PROMPTS, task.guidance)
        if i not in graded:
            eps = eps.detach()
        x0hat, _ = implied(ddim, x, eps, i)
        if penalised and i in graded:
            seen, _ = implied(ddim, x.detach(), eps, i)
            penalty = penalty + 0.1 * (seen - 0.3).square().mean() / len(graded)
        if i == stop:
            x = x0hat
            break
        x = ddim.a[i] * x + ddim.b[i] * eps
        if ddim.eta:
            x = x + ddim.sigma[i] * draws.normal("step", i, shape=SHAPE)
    reward = colourful(model.decode(x), PROMPTS)
    loss = (loss_of(reward) if loss_of else -reward).mean()
    return torch.autograd.grad(loss + penalty, model.parameters(), allow_unused=True), reward.mean().item()


def held_against(model, task, tuner, draws, *, micro_batch, penalised=True, **how):
    expected, reward = by_plain_autograd(model, task, draws=draws, penalised=penalised, **how)
    penalty = penalty_of if penalised else None
    found, log = update(model, task, tuner, micro_batch, penalty, draws)
    assert relative_gap(found, expected) < 1e-10  # in float64, only rounding remains
    assert log.reward == pytest.approx(reward, rel=1e-10)
    return log


@pytest.mark.parametrize(
    ("eta", "guidance", "micro_batch", "predicts"),
    [
        (1.0, 3.0, 8, "noise"),
        (0.0, 1.0, 4, "noise"),
        (0.5, 5.0, 1, "noise"),
        (0.5, 3.0, 4, "v"),
        (0.0, 1.0, 8, "flow"),
        (0.7, 3.0, 2, "flow"),
    ],
)
class TestPlainAutograd:
    @pytest.mark.parametrize("k", [1, 3, "full"])
    def test_draft(self, k, eta, guidance, micro_batch, predicts):
        task = toy_task(6, eta, guidance, predicts=predicts)
        graded = range(0 if k == "full" else 6 - k, 6)
        held_against(ToyModel(), task, Draft(k=k), DRAWS, graded=graded, micro_batch=micro_batch)

    def test_draft_on_the_linear_path(self, eta, guidance, micro_batch, predicts):
        task = toy_task(6, eta, guidance, predicts=predicts)
        tuner = Draft(k=1, path="linear")
        held_against(ToyModel(), task, tuner, DRAWS, graded=[5], micro_batch=micro_batch)

    @pytest.mark.parametrize("variant", ["original", "released"])
    @pytest.mark.parametrize("draws", UPDATES[:3])
    def test_alignprop(self, variant, draws, eta, guidance, micro_batch, predicts):
        task = toy_task(8, eta, guidance, predicts=predicts)
        tuner = Alignprop(variant=variant, coefficient=0.01, target=20.0)
        held_against(
            ToyModel(),
            task,
            tuner,
            draws,
            graded=tuner._grad_steps(8, draws),
            micro_batch=micro_batch,
            loss_of=lambda reward: 0.01 * (reward - 20.0).abs(),
        )

    @pytest.mark.parametrize("draws", UPDATES[:3])
    def test_refl(self, draws, eta, guidance, micro_batch, predicts):
        task, mid = toy_task(8, eta, guidance, predicts=predicts), draws.integers(6, 8, "mid")
        held_against(
            ToyModel(),
            task,
            Refl(cap=4.0, coefficient=0.5),
            draws,
            graded=[mid],
            stop=mid,
            micro_batch=micro_batch,
            loss_of=lambda reward: 0.5 * torch.relu(4.0 - reward),
        )

    @pytest.mark.parametrize(
        "options", [{"k": 1}, {"k": 3, "m": 4}, {"k": 5, "m": 0}, {"k": 4, "m": 6, "spread": "paper"}]
    )
    @pytest.mark.parametrize("draws", UPDATES[:3])
    def test_drtune(self, options, draws, eta, guidance, micro_batch, predicts):
        task, tuner = toy_task(12, eta, guidance, predicts=predicts), Drtune(**options)
        graded, stop = tuner._steps(12, draws)
        how = {"graded": graded, "stop": stop, "detach": True, "micro_batch": micro_batch}
        held_against(ToyModel(), task, tuner, draws, **how)


@pytest.mark.parametrize("predicts", SAMPLERS)
def test_linear_slopes_are_those_of_the_sampler(predicts):
    ddim = toy_task(7, 1.0, predicts=predicts).sampler
    for stop in (None, 3, 6):
        for k in range(7 if stop is None else stop + 1):
            eps = [torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(7)]
            x = torch.ones((), dtype=torch.float64)
            for i in range(7):
                if i == stop:
                    x = ddim.x0hat(x, eps[i], i)
                    break
                x = ddim.step(x, eps[i], i, torch.ones(()))
            assert torch.autograd.grad(x, eps[k])[0].item() == pytest.approx(ddim.slope(k, stop), rel=1e-12)


# -- DRaFT-LV ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("predicts", ["noise", "flow"])
@pytest.mark.parametrize("path", ["chain", "linear"])
def test_draft_lv_adds_the_losses_of_its_copies(path, predicts):
    model, task = ToyModel(), toy_task(5, predicts=predicts)
    ddim = task.sampler
    expected, _ = by_plain_autograd(model, task, [4], DRAWS)
    found, _ = update(model, task, Draft(k=1, path=path))
    assert relative_gap(found, expected) < 1e-10

    with torch.no_grad():
        x0 = DRAWS.normal("init", shape=SHAPE).double()
        for i, t in enumerate(ddim.timesteps):
            x0 = ddim.step(x0, model.predict(x0, t, PROMPTS, 3.0), i, DRAWS.normal("step", i, shape=SHAPE))
    total, t = [gradient.clone() for gradient in expected], ddim.timesteps[-1]
    clean, noisy = levels(ddim, 4)
    loss = -colourful(model.decode(x0), PROMPTS).mean().item()
    for j in range(2):
        draws = DRAWS.copy(j)
        x = clean * x0 + noisy * draws.normal("copy", shape=SHAPE)
        x = ddim.step(x, model.predict(x, t, PROMPTS, 3.0), 4, draws.normal("step", shape=SHAPE))
        of_copy = -colourful(model.decode(x), PROMPTS).mean()
        loss += of_copy.item()
        for summed, gradient in zip(total, torch.autograd.grad(of_copy, model.parameters()), strict=True):
            summed += gradient
    found, log = update(model, task, Draft(k=1, path=path, copies=2), micro_batch=4)
    assert relative_gap(found, total) < 1e-10
    assert log.loss == pytest.approx(loss, rel=1e-10)


@pytest.mark.parametrize("options", [{"k": 2, "copies": 2}, {"k": "full", "path": "linear"}])
def test_copies_and_the_linear_path_are_of_one_step(options):
    with pytest.raises(UserError, match="k: 1"):
        Draft(**options)


# -- which steps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "m"), [(5, 8), (1, 0), (1, 6), (13, 8), (20, 0)])
def test_drtune_reaches_every_step_and_none_after_the_stop(k, m):
    tuner, seen, stops = Drtune(k=k, m=m), set(), set()
    for update_number in range(400):
        graded, stop = tuner._steps(20, Draws((update_number,), range(2)))
        assert len(graded) == k
        assert len({b - a for a, b in pairwise(graded)}) <= 1
        assert 0 <= graded[0] <= graded[-1] <= stop
        seen.update(graded)
        stops.add(stop)
    assert stops == (set(range(20 - m, 20)) if m else {19})
    assert seen == set(range(20))  # including the last index


def test_drtune_as_the_paper_spreads_it_loses_what_is_after_the_stop():
    tuner, lost = Drtune(k=5, m=20, spread="paper"), 0
    for number in range(100):
        graded, stop = tuner._steps(20, Draws((number,), range(2)))
        assert all(i <= stop for i in graded)
        lost += 5 - len(graded)
    assert lost > 0


def test_drtune_scales_with_the_sampler_and_refuses_what_does_not_fit():
    assert Drtune()._sizes(50) == (5, 20)
    assert Drtune()._sizes(12) == (1, 5)
    assert Drtune()._sizes(3) == (1, 1)
    for options in ({"k": 5, "m": 9}, {"k": 13}, {"m": 13}):
        with pytest.raises(UserError, match="a sampler that has 12"):
            Drtune(**options).start_task(toy_task(12), ToyModel())


def test_an_update_that_trains_no_step_leaves_no_gradient():
    model, tuner = ToyModel(), Drtune(k=1, m=20, spread="paper")
    task = toy_task(20)
    draws = next(draws for n in range(99) if not tuner._steps(20, draws := DoubleDraws((n,), range(8)))[0])
    gradients, log = update(model, task, tuner, draws=draws)
    assert all(not gradient.any() for gradient in gradients)
    assert log.loss == -log.reward != 0


def test_alignprop_keeps_as_often_as_it_says():
    kept = torch.zeros(10)
    for number in range(2000):
        graded = Alignprop(variant="original")._grad_steps(10, Draws((number,), range(2)))
        kept[graded] += 1 / 2000
    expected = torch.arange(1, 11) / 11
    assert kept[9] == pytest.approx(1.0, abs=1e-4)  # the last step is always kept
    assert (kept - expected)[:9].abs().max() < 0.05


def test_alignprop_as_released_cuts_once():
    cuts = []
    for number in range(2000):
        graded = Alignprop()._grad_steps(50, Draws((number,), range(2)))
        assert graded == list(range(graded[0], 50))
        cuts.append(graded[0])
    # the whole number below N(42, 5), drawn again where it is not from 1 to 49
    normal = scipy.stats.norm(42, 5)
    shares = np.diff(normal.cdf(np.arange(1, 51)))
    mean = (np.arange(1, 50) * shares).sum() / shares.sum()
    assert sum(cuts) / 2000 == pytest.approx(mean, abs=0.5)
    assert Alignprop()._mean_kept(50) == pytest.approx(50 - mean)
    assert (torch.tensor(cuts) == 49).float().mean() == pytest.approx(shares[-1] / shares.sum(), abs=0.012)
    assert [Alignprop()._grad_steps(steps, Draws((0,), range(2)))[-1] for steps in (1, 2, 3)] == [0, 1, 2]
    assert Alignprop()._mean_kept(1) == 1


def test_refl_stays_in_the_last_quarter():
    steps = []
    for number in range(60):
        seen = []
        draws = DoubleDraws((number,), range(8))
        update(
            ToyModel(), toy_task(10), Refl(), penalty=lambda p, seen=seen: seen.append(p.step), draws=draws
        )
        steps += seen
    assert set(steps) == {7, 8, 9}  # the last three of 10
    assert min(steps.count(step) for step in (7, 8, 9)) > 10


# -- memory --------------------------------------------------------------------------------------------------


def test_drtune_holds_one_call_whatever_k(tiny_model):
    tiny_model.add_adapter("new", seed_key=("new",))
    tiny_model.activate({"new": 1.0}, train=["new"])
    task = reward_task(tiny_model)
    task = type(task)(**{**vars(task), "sampler": toy_task(10).sampler})

    def peak(tuner):
        tuner.start_task(task, tiny_model)
        return peak_of_saved(lambda: update(tiny_model, task, tuner, draws=UPDATES[0]))

    one, five = peak(Drtune(k=1, m=4)), peak(Drtune(k=5, m=4))
    assert 0 < five <= 1.1 * one
    assert peak(Draft(k=5)) > 3 * five
    assert math.isclose(peak(Draft(k=1, path="linear")), one, rel_tol=0.1)
    assert peak(Draft(k=1)) > one
