"""The conformance suite of tuners.

Shipped tuners pass the suite. The suite reports each broken tuner with a different message.
"""

from __future__ import annotations

import re
from itertools import islice

import pytest

from ril_bench.conformance.suite import CheckResult
from ril_bench.conformance.tuner import check_tuner

HEAD = '''
from dataclasses import replace
import torch
from ril_bench import Log, Tuner
from ril_bench.tuners.refl import Refl

class Mine({base}):
    """A tuner."""

'''
ACCUMULATE = "    needs = frozenset({'reward'})\n\n    def accumulate(self, model, *_):\n        "
IDLE = "sum(p.sum() for p in model.parameters()).mul(0).backward(); return Log(0.0, 0.0, 0.0)"
UNCOUNTED = "sum(p.sum() for p in model.parameters()).backward(); return Log(0.0, 0.0, 0.0)"
SHARE = """
    def accumulate(self, model, task, batch):
        return super().accumulate(model, task, replace(batch, share=1.0))
"""
FORGETS = """
    def start_task(self, task, model):
        self.count = 0

    def after_update(self, model):
        self.count += 1

    def _loss(self, reward):
        return -reward * (1 + self.count)
"""
COST = """
    def update_cost(self, steps, guided):
        return Tuner.update_cost(self, steps, guided)
"""
NUMBERS = """
    def update_cost(self, steps, guided):
        return steps, 1
"""
RANDOM = """
    def _loss(self, reward):
        return -reward * (1 + torch.rand(()))
"""
NO_DEFAULT = """
    class Options(Refl.Options):
        rate: float
"""
BROKEN = {  # base class, body, the fault, the hint
    "no needs": ("Tuner", "    needs = frozenset()", "states no needs", "reward_gradient"),
    "unknown need": ("Refl", "    needs = frozenset({'reward', 'money'})", "needs holds money", "images"),
    "no default": ("Refl", NO_DEFAULT, "no default for rate", "give every option a default"),
    "idle": ("Tuner", ACCUMULATE + IDLE, "the adapter gets no gradient", "LossAccumulator"),
    "uncounted": (
        "Tuner",
        ACCUMULATE + UNCOUNTED,
        "no call of the denoiser is counted",
        "call model.predict",
    ),
    "a cost that is too low": (
        "Refl",
        COST,
        "update_cost states 3 denoiser evaluations for each prompt of an update, and 4 were counted",
        "returns Cost(evaluations, graded, images, graded_images)",
    ),
    "a cost of another type": (
        "Refl",
        NUMBERS,
        "update_cost returns (3, 1), not a Cost",
        "of ril_bench.tuners.base",
    ),
    "random": ("Refl", RANDOM, "two runs of one seed differ", "draw through `draws`"),
    "share": ("Refl", SHARE, "in micro-batches of one prompt the gradient's norm", "share * the mean"),
    "forgets": ("Refl", FORGETS, "stopped inside a task ends differently", "state_dict must hold all"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_tuner_is_caught_with_its_own_message(name, tmp_path, tiny_sequence):
    base, body, fault, hint = BROKEN[name]
    file = tmp_path / "mine.py"
    file.write_text(HEAD.format(base=base) + body + "\n")
    seen = []
    for result in check_tuner(str(file), tiny_sequence):
        seen.append(result)
        if fault in (result.fault or "") and hint in (result.hint or ""):
            return  # later checks need more runs
    pytest.fail(f"{seen}")


APPLIED = """
    needs = frozenset({{'reward'}})

    def accumulate(self, model, task, batch):
        {imported}
        latents = torch.ones(len(batch.prompts), *model.latent_shape)
        loss = model.predict(latents, 500.0, batch.prompts, guidance=1.0).square().mean()
        {made}
        {used}
        return losses.log(0.0, loss.item())
"""


def test_a_tuner_without_a_gradient_has_one_after_its_hint_is_applied(tmp_path, tiny_sequence):
    def third(body: str) -> CheckResult:
        file = tmp_path / "mine.py"
        file.write_text(HEAD.format(base="Tuner") + body + "\n")
        return next(islice(check_tuner(str(file), tiny_sequence), 2, None))

    found = third(ACCUMULATE + IDLE)
    assert found.fault == "the adapter gets no gradient in any update"
    imported, made, used = re.findall("`([^`]+)`", found.hint)
    applied = third(APPLIED.format(imported=imported, made=made, used=used))
    assert (applied.check, applied.fault) == (found.check, None)


def test_a_shipped_tuner_passes(tiny_sequence):
    assert [result.fault for result in check_tuner("draft", tiny_sequence)] == [None] * 9


@pytest.mark.slow
def test_a_tuner_that_learns_from_images_gets_some():
    """In the embedded world, whose captions its image set needs; the first two checks show it."""
    assert [result.fault for result in islice(check_tuner("spin"), 2)] == [None] * 2
