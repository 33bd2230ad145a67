"""The consolidation of a step: a phase after its training, in which the method's losses train alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ril_bench.methods import Consolidation
from ril_bench.running import accounts
from ril_bench.running.training import Training
from ril_bench.tuners.own_rollouts import OwnRollouts


def consolidation(training: Training, phase: Consolidation) -> Training:
    """The training of a consolidation that follows `training`, which has ended; calls `start_consolidation`.

    Its updates go on counting, so that their draws, log lines and checkpoints come after those of the training. Each
    bound on calls allows its multiple `phase.updates`, after the calls so far.
    """
    training.method.start_consolidation(training.tasks[training.step], training.model)
    calls = accounts.spent(training.calls + training.model.counter)
    bounds = {
        name: calls[name] + phase.updates * bound for name, bound in training.spec.budget.bounds.items()
    }
    return _phase(training, phase, training.update, bounds)


def resumed(training: Training, phase: Consolidation, state: Mapping[str, Any]) -> Training:
    """A consolidation whose adapters and method are restored, before `state`, its part of a checkpoint, is."""
    return _phase(training, phase, state["from"], state["bounds"])


def state_of(training: Training) -> dict[str, Any] | None:
    """The part of a checkpoint that `resumed` needs; None before a consolidation."""
    if training.consolidates_from is None:
        return None
    return {"from": training.consolidates_from, "bounds": dict(training.bounds)}


def _phase(training: Training, phase: Consolidation, start: int, bounds: Mapping[str, float]) -> Training:
    tuner = OwnRollouts(calls=phase.calls)
    tuner.start_task(training.tasks[training.step], training.model)
    return replace(
        training,
        tuner=tuner,
        weights={training.step: 1.0},
        update=start,
        updates=start + round(phase.updates * training.spec.budget.updates),
        bounds=bounds,
        consolidates_from=start,
    )
