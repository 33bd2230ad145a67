"""The conformance suite of tuners: short runs in the embedded world, and their results."""

from __future__ import annotations

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
from ril_bench.conformance.watch import Watch
from ril_bench.running import accounts
from ril_bench.running.materials import Materials, tuner_of
from ril_bench.running.plan import plan_run
from ril_bench.running.runner import Runner
from ril_bench.running.step_cost import guided_calls
from ril_bench.tuners.base import Cost
from ril_bench.tuners.sampler_needs import OF_SAMPLER

SEQUENCE = "shapes-smoke"
UPDATES, CHECKPOINT_EVERY = 4, 2
SETTINGS: Settings = {
    "budget.updates": UPDATES,
    "budget.batch": 2,
    "optimizer.lr": 2e-2,
    "sampler.guidance": 1.0,
    "units.images": 8,
    "evaluation.probes": [],
    "evaluation.prompts": 2,
    "evaluation.images_per_prompt": 1,
}
IMAGES = "shapes/aesthetic"  # for a tuner that learns from an image set
NEEDS = {"reward", "reward_gradient", "images", *OF_SAMPLER}
THREADS = 1
KILLED_AFTER = (1, 3)  # task, update: the resume begins at the checkpoint after update 2
#: what a tuner states of an update -> what it is, and its calls: kind, with gradient
COUNTED = {
    "evaluations": ("denoiser evaluations", "denoiser", False),
    "graded": ("differentiated denoiser evaluations", "denoiser", True),
    "images": ("scored images", "reward:", False),
    "graded_images": ("differentiated images", "reward:", True),
}
SPREAD = (
    1 / 4
)  # relative: how far the mean of a few updates may be from that of many, where a tuner draws its calls
STATE = (
    "write `def update_cost(self, steps, guided)`, which returns Cost(evaluations, graded, images, graded_images) of "
    "ril_bench.tuners.base; a tuner without it states one rollout"
)
ROUNDING = 1e-3  # relative: the difference in a gradient that another order of summation may cause


def check_tuner(reference: str, sequence: str = SEQUENCE) -> Iterator[CheckResult]:
    """Yields the result of each check as it ends.

    Args:
        reference: a tuner's name or file.
        sequence: the tuner is tried on the first task of this sequence.
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
            self.moves_the_adapter,
            self.leaves_frozen_weights,
            self.counts_its_calls,
            self.states_its_cost,
            self.repeats,
            self.splits,
            self.resumes,
        ]

    def loads(self) -> None:
        """loads, has defaults for its options, and states what it needs"""
        cls = registry.load("tuner", self.reference)
        require_docstring(cls)
        if unknown := set(cls.needs) - NEEDS:
            raise CheckFailed(
                f"needs holds {', '.join(sorted(unknown))}", f"it may hold {', '.join(sorted(NEEDS))}"
            )
        if not cls.needs:
            raise CheckFailed(
                "it states no needs",
                'write needs = frozenset({"reward"}) if it uses values of the reward, {"reward_gradient"} '
                "if it uses the gradient",
            )
        required = [name for name, field in cls.Options.model_fields.items() if field.is_required()]
        if lacking := [name for name in required if name != "images"]:
            raise CheckFailed(f"it has no default for {', '.join(lacking)}", "give every option a default")
        self.images: Settings = {"tuner.images": IMAGES} if "images" in required else {}

    def runs(self) -> None:
        """trains a task with the plain method (naive)"""
        self.straight, self.watch = self._run("straight")

    def moves_the_adapter(self) -> None:
        """computes gradients for the adapter that the method trains"""
        if not any(line["grad_norm"] for line in self.straight.folder.read_log()):
            raise CheckFailed(
                "the adapter gets no gradient in any update",
                "write `from ril_bench.tuners.base import LossAccumulator`, `losses = LossAccumulator(batch, calls=1)` "
                "and `losses.backward(loss)` with a loss that depends on a prediction of the model",
            )

    def leaves_frozen_weights(self) -> None:
        """leaves frozen weights alone: none changes, none gets a gradient"""
        if touched := sorted(self.watch.moved | self.watch.graded):
            raise CheckFailed(
                f"frozen adapters changed or got a gradient: {', '.join(touched)}",
                "compute predictions of a frozen model under torch.no_grad()",
            )

    def counts_its_calls(self) -> str:
        """calls the denoiser and the reward through the model and the task, which count the calls"""
        step = self.straight.folder.read_run()["steps"][1]
        spent = accounts.spent(accounts.from_rows(step["training_calls"]))
        forwards, calls = (spent[name] / UPDATES for name in ("denoiser_forwards", "reward_calls"))
        if not forwards:
            raise CheckFailed(
                "no call of the denoiser is counted", "call model.predict, not the denoiser itself"
            )
        if not calls and {"reward", "reward_gradient"} & self._cls().needs:
            raise CheckFailed("no call of the reward is counted", "call task.reward(images, prompts)")
        return f"for each update of 2 prompts: {forwards:g} denoiser evaluations, {calls:g} scored images"

    def states_its_cost(self) -> None:
        """states what an update costs, as it is counted (update_cost)"""
        sequence = self.straight.plan.sequence
        calls = accounts.from_rows(self.straight.folder.read_run()["steps"][1]["training_calls"])
        stated = tuner_of(sequence.task(1)).update_cost(sequence.sampler.steps, guided_calls(sequence))
        if not isinstance(stated, Cost):
            raise CheckFailed(f"update_cost returns {stated!r}, not a Cost", STATE)
        for name, (what, kind, graded) in COUNTED.items():
            counted = accounts.samples(calls, kind, graded=graded) / (UPDATES * sequence.task(1).budget.batch)
            if abs(counted - getattr(stated, name)) > SPREAD * getattr(stated, name):
                raise CheckFailed(
                    f"update_cost states {getattr(stated, name):g} {what} for each prompt of an update, and "
                    f"{counted:g} were counted",
                    STATE,
                )

    def repeats(self) -> None:
        """produces the same bytes for the same seed"""
        hint = "draw through `draws` only, and never use the global generator"
        check_repeats(self.straight, self.resumed, self._run, hint)

    def splits(self) -> None:
        """computes the same update in micro-batches, up to rounding"""
        whole, split = (
            self._run(f"split-{size}", settings={"budget.updates": 1, "budget.micro_batch": size})[
                0
            ].folder.read_log()[0]
            for size in (2, 1)
        )
        # The losses say less: those of a policy gradient are near 0 at the first update.
        a, b = whole["grad_norm"], split["grad_norm"]
        if abs(a - b) > ROUNDING * max(a, b, 1e-6):
            raise CheckFailed(
                f"in micro-batches of one prompt the gradient's norm is {b:.6g}, not {a:.6g}",
                "back-propagate share * the mean over the micro-batch, and draw by sample (draws)",
            )

    def resumes(self) -> None:
        """ends with the same bytes after it is killed inside a task and started again"""
        check_resumes(
            self.straight,
            self.resumed,
            "a run that was stopped inside a task ends differently",
            "state_dict must hold all that changes; start_task is called again before load_state_dict",
        )

    # -- helpers
    # -----------------------------------------------------------------------------------------------

    def _cls(self) -> Any:
        return registry.load("tuner", self.reference)

    @cached_property
    def resumed(self) -> Runner | Exception:
        return killed_and_resumed(self._run, KILLED_AFTER)

    def _run(
        self, label: str, *, settings: Settings = UNCHANGED, stop: tuple[int, int] | None = None
    ) -> tuple[Runner, Watch]:
        """Runs only the first task of the sequence."""
        changes = {**SETTINGS, **self.images, **settings}
        plan = plan_run(self.sequence, "naive", tuner=self.reference, settings=changes, label=label)
        plan = replace(plan, sequence=plan.sequence.model_copy(update={"tasks": plan.sequence.tasks[:1]}))
        if self.materials is None:
            self.materials = Materials.load(plan.sequence, torch.device("cpu"))
        watch = Watch(self.materials.model, stop)
        runner = Runner(
            plan,
            self.out,
            threads=THREADS,
            materials=replace(self.materials, sequence=plan.sequence),
            account=False,
            checkpoint_every=CHECKPOINT_EVERY,
            reporter=watch,
        )
        runner.execute()
        return runner, watch
