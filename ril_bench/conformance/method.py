"""The conformance suite of methods: short runs in the embedded world, and their results."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ril_bench import registry
from ril_bench.config.settings import UNCHANGED, Settings
from ril_bench.conformance.equal_runs import check_repeats, check_resumes, killed_and_resumed
from ril_bench.conformance.suite import Check, CheckFailed, CheckResult, require_docstring, run_checks
from ril_bench.conformance.watch import Guard, Watch, tensors_held
from ril_bench.methods import Method
from ril_bench.running.accounts import tensor_bytes
from ril_bench.running.materials import Materials
from ril_bench.running.plan import plan_run
from ril_bench.running.runner import Runner
from ril_bench.running.training import Training
from ril_bench.sequences.spec import Sequence, Until
from ril_bench.storage import names
from ril_bench.storage.checkpoint import pack, unpack

SEQUENCE = "shapes-smoke"  # two rewards that need no weights; a run takes seconds
UPDATES, CHECKPOINT_EVERY = 4, 2
SETTINGS: Settings = {
    "budget.updates": UPDATES,
    "budget.batch": 2,
    "optimizer.lr": 2e-2,
    "sampler.steps": 2,
    "sampler.guidance": 1.0,
    "units.images": 8,
    "evaluation.probes": [],
    "evaluation.prompts": 2,
    "evaluation.images_per_prompt": 2,
}
THREADS = 1
KILLED_AFTER = (2, 3)  # task, update: the resume begins at the checkpoint after update 2


def check_method(reference: str, sequence: str = SEQUENCE) -> Iterator[CheckResult]:
    """Yields the result of each check as it ends. Takes well under a minute on two cores.

    Args:
        reference: a method's name or file.
        sequence: the sequence of two tasks that the method is tried on.
    """
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        suite = _Suite(reference, sequence, Path(folder))
        yield from run_checks(suite.checks(), needed=(suite.loads, suite.runs))


class _Suite:
    def __init__(self, reference: str, sequence: str, out: Path):
        self.reference, self.sequence, self.out = reference, sequence, out
        self.materials: Materials | None = None

    def checks(self) -> list[Check]:
        return [
            self.loads,
            self.runs,
            self.learns,
            self.keeps_to_its_own,
            self.leaves_frozen_weights,
            self.repeats,
            self.round_trip,
            self.reports_what_it_carries,
            self.resumes,
            self.needs_no_update,
            self.full_chain,
        ]

    def loads(self) -> None:
        """loads, and every public method is a hook"""
        cls = registry.load("method", self.reference)
        require_docstring(cls)
        cls()

    def runs(self) -> None:
        """runs a sequence of two tasks with a single-call tuner (draft, k = 1)"""
        self.straight, self.watch = self._run("straight")
        self.guard: Guard = vars(self.straight.method)["__wrapped__"]  # the run watches it

    def learns(self) -> None:
        """learns: the first task raises its reward, and the second one moves the model"""
        run, name = self.straight, self.straight.sequence.order[0]
        sign = run.materials.rewards[name].direction
        gain = sign * (run.steps.row(1)[name] - run.steps.row(0)[name])
        if not gain > 0:  # only task 1: in later tasks a method may protect earlier ones instead
            raise CheckFailed(
                f"task 1 changed {name} by {gain:.3g}",
                "train the active adapter: model.activate(..., train=[...])",
            )
        first, second = ((run.folder.path / names.adapter(i)).read_bytes() for i in (1, 2))
        if first == second:
            raise CheckFailed(
                "task 2 changed nothing",
                "weaken the penalty, or train an adapter: model.activate(..., train=[...])",
            )

    def keeps_to_its_own(self) -> None:
        """uses only the current task's reward, unless it states oracle = True"""
        if self.guard.fault:
            raise self.guard.fault

    def leaves_frozen_weights(self) -> None:
        """leaves frozen weights alone: none changes inside a task, none gets a gradient"""
        if self.watch.moved:
            raise CheckFailed(
                f"frozen adapters changed while a task was trained: {', '.join(sorted(self.watch.moved))}",
                "inside a task, change only adapters that train; change others in start_task or end_task",
            )
        if self.watch.graded:
            raise CheckFailed(
                f"frozen adapters got a gradient: {', '.join(sorted(self.watch.graded))}",
                "name what trains in model.activate(..., train=[...]); compute a teacher's prediction under "
                "torch.no_grad()",
            )

    def repeats(self) -> None:
        """produces the same bytes for the same seed"""
        hint = "draw random numbers with ril_bench.draws, keyed by task.key"
        check_repeats(self.straight, self.resumed, self._run, hint)

    def round_trip(self) -> None:
        """state_dict and load_state_dict keep its state"""
        state = self.straight.method.state_dict()
        try:
            kept = unpack(pack(state))
        except TypeError as error:
            raise CheckFailed(
                f"its state cannot be stored: {error}", "return only tensors and plain values from state_dict"
            ) from error
        fresh = self._method()
        fresh.bind(self.straight.materials.model)
        fresh.load_state_dict(kept)
        if not _equal(unpack(pack(fresh.state_dict())), kept):
            raise CheckFailed(
                "after load_state_dict, state_dict returns another state",
                "load_state_dict must restore everything that state_dict returns",
            )

    def reports_what_it_carries(self) -> None:
        """reports every tensor that it carries"""
        method = self.guard.method
        reported = {tensor.data_ptr() for tensor in tensors_held(method.state_dict()).values()}
        reported |= {p.data_ptr() for p in self.straight.materials.model.denoiser.parameters()}
        hidden = {
            place: tensor_bytes(tensor)
            for place, tensor in tensors_held(method).items()
            if tensor.numel() > 1 and tensor.data_ptr() not in reported
        }
        if hidden:
            largest = max(hidden, key=lambda place: hidden[place])
            raise CheckFailed(
                f"it keeps {sum(hidden.values())} bytes that its state_dict does not return, as in {largest}",
                "carried bytes are part of a method's cost: return them in state_dict, or delete them in "
                "end_task",
            )

    def resumes(self) -> None:
        """ends with the same bytes after it is killed inside a task and started again"""
        check_resumes(
            self.straight,
            self.resumed,
            "a run that was stopped inside task 2 ends differently",
            "state_dict must hold all that changes, also what start_task and after_update store in self",
        )

    def needs_no_update(self) -> None:
        """completes tasks that need no update, because their criterion is met at their start"""
        run, _ = self._run("met", met=True)
        if any(line["reward"] != names.CONSOLIDATION for line in run.folder.read_log()):
            raise RuntimeError("a task had updates although its criterion was met at its start")

    def full_chain(self) -> None:
        """runs with a tuner that differentiates the full chain (draft, k = full)"""
        self._run("chain", settings={"tuner.k": "full", "budget.updates": 1})

    # -- helpers
    # -----------------------------------------------------------------------------------------------

    @cached_property
    def resumed(self) -> Runner | Exception:
        return killed_and_resumed(self._run, KILLED_AFTER)

    def _run(
        self,
        name: str,
        *,
        settings: Settings = UNCHANGED,
        stop: tuple[int, int] | None = None,
        met: bool = False,
    ) -> tuple[Runner, Watch]:
        given = {**SETTINGS, "tuner.k": 1, **settings}
        plan = plan_run(self.sequence, self.reference, settings=given, label=name)
        if met:
            plan = replace(plan, sequence=_with_criteria(plan.sequence))
        if self.materials is None:
            self.materials = Materials.load(plan.sequence, torch.device("cpu"))
        watch = Watch(self.materials.model, stop)
        runner = (_MetAtStart if met else Runner)(
            plan,
            self.out,
            threads=THREADS,
            materials=self._materials(plan.sequence),
            account=False,
            checkpoint_every=CHECKPOINT_EVERY,
            reporter=watch,
        )
        # Guard has the interface of a method, but is not a subclass.
        runner.method = Guard(runner.method)  # type: ignore[assignment]
        runner.execute()
        return runner, watch

    def _materials(self, sequence: Any) -> Materials:
        """The loaded weights with another sequence; only budgets and tuners may differ."""
        assert self.materials is not None
        return replace(self.materials, sequence=sequence)

    def _method(self) -> Method:
        method: Method = registry.load("method", self.reference)()
        return method


class _MetAtStart(Runner):
    """A run whose criteria any model meets. A sequence cannot state such a criterion."""

    def _training(self, i: int) -> Training:
        training = super()._training(i)
        assert training.criterion is not None, "all tasks have a criterion"
        any_gain = {
            j: replace(goal, until=goal.until.model_copy(update={"gain": -math.inf}))
            for j, goal in training.criterion.goals.items()
        }
        training.criterion = replace(training.criterion, goals=any_gain)
        return training


def _with_criteria(sequence: Sequence) -> Sequence:
    """The sequence with a criterion for each task."""
    until = Until(gain=1.0, images=2, every=1)
    met = [
        task.model_copy(update={"budget": task.budget.model_copy(update={"until": until})})
        for task in sequence.tasks
    ]
    return sequence.model_copy(update={"tasks": met})


def _equal(a: Any, b: Any) -> bool:
    """Whether two trees of plain values and tensors are the same."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)
