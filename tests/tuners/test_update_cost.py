"""What a tuner states of the cost of an update, compared with the calls that are counted."""

from __future__ import annotations

import math
from dataclasses import astuple, replace
from statistics import fmean, stdev

import pytest

from ril_bench.running import accounts
from ril_bench.tuners.adjoint_matching import AdjointMatching
from ril_bench.tuners.alignprop import Alignprop
from ril_bench.tuners.base import Cost, OpenGraphs, Tuner
from ril_bench.tuners.crd import Crd
from ril_bench.tuners.drtune import Drtune
from ril_bench.tuners.nabla_gflownet import NablaGflownet
from ril_bench.tuners.own_rollouts import OwnRollouts
from ril_bench.tuners.refl import Refl
from tests.tiny import LoraPerTask, bound, reward_task, training
from tests.tiny import tuner as built
from tests.toy import DoubleDraws, ToyModel, toy_task, update
from tests.tuners.variants import TUNERS, named

STEPS, UPDATES, BATCH = 3, 2, 2
#: what these draw for each update decides its calls; the variants of drtune and refl draw nothing in 3 steps
RANDOM = {"alignprop", "alignprop-original", "adjoint_matching"}


def counted(model, tuner, guidance):
    """The mean calls of UPDATES updates for one prompt, counted by the model and by the task."""
    task = replace(reward_task(model), guidance=guidance)
    training(model, bound(LoraPerTask(), model), tuner=tuner, task=task, updates=UPDATES, batch=BATCH).run(
        lambda line: None
    )
    spent = [
        accounts.samples(model.counter, kind, graded=graded)
        for kind in ("denoiser", "reward:")
        for graded in (False, True)
    ]
    return [n / (UPDATES * BATCH) for n in spent]


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", TUNERS)
def test_what_a_tuner_states_is_what_is_counted(name, guidance, images, tiny_model):
    tuner = built(named(name, images))
    guided = 1 if guidance == 1 else 2
    stated = astuple(tuner.update_cost(STEPS, guided))
    # each update draws one step, or one number of steps, of three
    spread = guided * STEPS / 2 if name in RANDOM else 1e-9
    found = counted(tiny_model, tuner, guidance)
    assert found == pytest.approx(stated, abs=spread, rel=0)
    assert found[2:] == pytest.approx(stated[2:])


OTHERS = {
    "crd without kl": (Crd, {"samples": 2, "kl": 0.0}),
    "crd, a guided reference": (Crd, {"samples": 2, "noises": 2, "reference_guidance": 4.5}),
    "nabla_gflownet without L_B": (NablaGflownet, {"backward": 0.0}),
    "nabla_gflownet without p_ref": (NablaGflownet, {"residual": False}),
    "nabla_gflownet without a flow": (NablaGflownet, {"flow": False}),
    "drtune, whole rollouts": (Drtune, {"m": 0}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_options_that_change_the_calls(name, tiny_model):
    cls, options = OTHERS[name]
    tuner = cls(**options)
    assert counted(tiny_model, tuner, 3.0) == pytest.approx(astuple(tuner.update_cost(STEPS, 2)))


MEANS = {
    "refl": (Refl, {}),
    "refl, any step": (Refl, {"last": 1.0}),
    "drtune": (Drtune, {}),
    "drtune, over all steps": (Drtune, {"k": 2, "m": 8, "spread": "paper"}),
    "drtune, one of all steps": (Drtune, {"k": 1, "m": 10, "spread": "paper"}),
    "drtune, late": (Drtune, {"k": 3, "m": 6, "spread": "late", "bridge": 0.5}),
    "alignprop": (Alignprop, {}),
    "alignprop, original": (Alignprop, {"variant": "original"}),
    "adjoint_matching": (AdjointMatching, {}),
    "adjoint_matching, one step": (AdjointMatching, {"steps": 1}),
    "own_rollouts": (OwnRollouts, {}),
}


@pytest.mark.parametrize("name", MEANS)
def test_the_mean_of_what_a_tuner_draws(name):
    """Over many updates in 12 steps, within four standard errors."""
    cls, options = MEANS[name]
    tuner, model, task = cls(**options), ToyModel(), toy_task(steps=12, guidance=1.0)
    reward = task.reward

    def scored(images, prompts):
        model.counter["reward", images.requires_grad] += len(images)
        return reward(images, prompts)

    task.reward, updates = scored, []
    tuner.start_task(task, model)
    for i in range(100):
        model.counter.clear()
        update(model, task, tuner, draws=DoubleDraws((0, 1, i), range(8)))
        of_kind = model.counter
        graded = [of_kind[kind, True] / 8 for kind in ("denoiser", "reward")]
        whole = [g + of_kind[kind, False] / 8 for g, kind in zip(graded, ("denoiser", "reward"), strict=True)]
        updates.append((whole[0], graded[0], whole[1], graded[1]))
    for counts, stated in zip(zip(*updates, strict=True), astuple(tuner.update_cost(12, 1)), strict=True):
        error = stdev(counts) / math.sqrt(len(counts))
        assert fmean(counts) == pytest.approx(stated, abs=4 * error + 1e-9, rel=0)


class Plain(Tuner):
    """A tuner that states no cost."""

    def open_graphs(self, steps, guided):
        return OpenGraphs(3 * guided, together=False)


class PlainGradient(Plain):
    """A tuner that states no cost, and differentiates the reward."""

    needs = frozenset({"reward_gradient"})


def test_a_tuner_that_states_no_cost_has_one_rollout_of_which_its_graphs_are_differentiated():
    assert Plain().update_cost(10, 2) == Cost(20, 6, 1, 0)
    assert PlainGradient().update_cost(10, 1) == Cost(10, 3, 1, 1)


def test_costs_add_up():
    assert 2 * Cost(3, 1, 1, 0.5) + Cost(1) == Cost(7, 2, 2, 1)
