"""The loop over tasks: tune, evaluate, store; and go on from wherever an earlier process stopped."""

from __future__ import annotations

import time
import traceback
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ril_bench.errors import NumericalError, RilError, UserError, failure_class
from ril_bench.machine.compute import PLAIN, Compute
from ril_bench.machine.parallel import team
from ril_bench.running import accounts, provenance
from ril_bench.running import shared_steps as prefix
from ril_bench.running.materials import Materials
from ril_bench.running.plan import RunPlan
from ril_bench.running.progress import Reporter, spoken, watched
from ril_bench.running.steps import Steps
from ril_bench.running.trackers import Tracker
from ril_bench.running.training import Training, adamw, turns
from ril_bench.scoring.score import score_run
from ril_bench.sequences.calibrations import Calibration
from ril_bench.storage import names
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.run_folder import Onlooker, RunFolder

SCHEMA_VERSION = 1
CHECKPOINT_EVERY = 10  # updates


class Runner:
    """One run: a plan, worked off in its folder. `execute` may be called again after any interruption.

    A step's life: start_task -> checkpoint "start" -> updates, with checkpoint "latest" now and then -> end_task ->
    "latest" (ended) -> adapter, images, scores -> its entry in run.json, which makes it done. Whatever a killed
    process did after the newest of these is done again, to the same bytes.

    Started by a launcher in several processes, each takes its share of every batch (parallel); the main one writes.

    Args:
        compute: how the arithmetic is done; None: as the run began, or in float32.
        shared: steps that other runs of a grid begin with too: kept for them, or taken over from them.
        materials: the sequence's, where they are loaded already; its adapters are dropped.
        tracker: told of every update and step as well.
        account: whether to measure, at the end, what the run's calls cost alone: of no use beside other runs.
    """

    def __init__(
        self,
        plan: RunPlan,
        out: Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        compute: Compute | None = None,
        shared: Collection[int] = (),
        materials: Materials | None = None,
        tracker: Tracker | None = None,
        account: bool = True,
        reporter: Reporter,
    ):
        self.plan, self.sequence = plan, plan.sequence
        self.team = team(device)
        self.folder = (RunFolder if self.team.main else Onlooker)(plan.folder(out))
        self.device, self.threads, self.shared = torch.device(device), threads, shared
        self.asked, self.compute = compute, compute or PLAIN
        self.micro_batch = 0  # what the memory leaves room for, once an update has told
        self.given = materials
        self.reporter = reporter if self.team.main else Reporter(quiet=True)
        self.tracker, self.account = tracker if self.team.main else None, account
        self.calibration = plan.load_calibration()
        self.method = plan.build_method()

    def execute(self) -> Path:
        """Runs what is left of the plan and returns its folder; at once if it is complete.

        Raises the cause of a failure; run.json then names it, and what was computed stays.
        """
        with self.folder.lock(), self.reporter, self.tracker or nullcontext():
            complete = self.team.from_main(lambda: self.plan.is_complete(self.folder))
            recorded = self.team.from_main(self._recorded_hardware)
            self.compute = self._same_numerics(recorded.get("compute"))
            if complete:
                self.folder.drop_checkpoints()  # where it was killed just before that
                self.reporter.say(f"already complete: {self.folder.path}")
                return self.folder.path
            self._claim(recorded.get("threads"))
            try:
                self._work()
            except Exception as error:
                if isinstance(error, NumericalError):
                    error.hint = "; ".join(filter(None, [error.hint, self._last_checkpoint()]))
                self.folder.update_run(status="failed", failure=_described_failure(error))
                raise
        return self.folder.path

    def _recorded_hardware(self) -> dict[str, Any]:
        """What the run began on, empty for a new one."""
        return self.folder.read_run().get("hardware") or {} if self.folder.exists else {}

    def _claim(self, recorded: int | None) -> None:
        # Sums differ with the number of threads: a resume takes the run's own, not this machine's default.
        if threads := self.threads or recorded:
            torch.set_num_threads(threads)
        fresh = {
            "schema_version": SCHEMA_VERSION,
            **self.plan.identity(),
            "started": _now(),
            "steps": [],
            "cost": None,
            "calibration": _embedded(self.calibration),
        }
        self.folder.update_run(
            **({} if self.folder.exists else fresh),
            status="running",
            failure=None,
            device=str(self.device),
            versions=provenance.versions(),
            git=provenance.revision(),
            hardware=provenance.hardware(self.device, self.compute) | {"processes": self.team.size},
        )

    def _same_numerics(self, recorded: Mapping[str, Any] | None) -> Compute:
        """How to compute, as the run began. Raises UserError where other number formats are asked for."""
        given = self.asked or (Compute(**recorded) if recorded else PLAIN)
        if recorded and given.numerics != recorded:
            raise UserError(
                f"this run began in {recorded}, not in {given.numerics}",
                where=str(self.folder.path / names.RUN),
                hint="give it the same --compute, or choose another --out",
            )
        return given

    def _work(self) -> None:
        self.reporter.say(f"{self.sequence.name}, {self.plan.method}, seed {self.plan.seed}: loading")
        if self.given is None:
            with self.team.main_first():
                self.given = Materials.load(self.sequence, self.device, self.compute)
        self.materials = self.given
        for name in self.materials.model.adapters:
            self.materials.model.delete_adapter(name)
        self.materials.check_tuners()  # a fault in task 3 is reported before task 1 is trained
        self.folder.update_run(weights=self.materials.weights, method=self._described())
        self.steps = Steps(self.folder, self.materials, self.reporter)
        began, done = time.perf_counter(), self.team.from_main(lambda: self.steps.done)
        whole = not done
        if not done:
            self.steps.make_zero()
        whole &= not self.team.on_main(self._took_over)
        done = self.team.from_main(lambda: self.steps.done)
        self.method.bind(self.materials.model)
        training = self._resumed(done)
        for i in range(training.step if training else done, len(self.sequence.tasks) + 1):
            self._step(training or self._started(i))
            training = None
        self.team.on_main(lambda: self._finish(began if whole and self.account else None))

    def _took_over(self) -> bool:
        """Whether steps of another run stand in for those that would be made first. Row 0 is checked before."""
        if self.calibration is not None:
            self.steps.check_row_zero(self.calibration, hint=f"ril-bench calibrate {self.plan.reference}")
        fresh = self.steps.done == 1 and not self.folder.checkpoint("start").exists()
        return fresh and prefix.adopt(self.folder, self.plan, self.materials, self.shared)

    def _finish(self, began: float | None) -> None:
        score_run(self.folder.path)
        cost = None
        if began is not None:
            seconds = time.perf_counter() - began
            self.reporter.say("measuring what the counted model and reward calls take alone")
            made = self.materials
            steps = self.folder.read_run()["steps"]
            cost = accounts.cost(steps, seconds, made.model, made.rewards, made.eval_prompts)
        self.folder.update_run(status="complete", finished=_now(), cost=cost)
        self.folder.drop_checkpoints()
        if cost:
            trained, whole = spoken(cost["training_seconds"]), spoken(cost["run_seconds"])
            self.reporter.say(
                f"training took {trained}, {cost['training_ratio']:.2f} times what its model and reward calls take "
                f"alone; the whole run took {whole} ({cost['run_ratio']:.2f} times)"
            )

    # -- a task ----------------------------------------------------------------------------------------------

    def _started(self, i: int) -> Training:
        """Task i at its start."""
        model, began = self.materials.model, time.perf_counter()
        if self.method.plan(self.sequence.order[:i], i).start == "pretrained":
            for name in model.adapters:
                model.delete_adapter(name)
        self.method.start_task(self.materials.task(i, step=i, seed=self.plan.seed), model)
        training = self._training(i)
        training.seconds = time.perf_counter() - began
        self._checkpoint("start", training)
        self.folder.drop_checkpoint("latest")
        return training

    def _training(self, i: int) -> Training:
        """Task i's training before its first update, on the adapters as they stand."""
        spec, tuner = self.sequence.task(i), self.materials.tuner(i)
        plan = self.method.plan(self.sequence.order[:i], i)
        tasks = {j: self.materials.task(j, step=i, seed=self.plan.seed) for j in {*plan.weights, i}}
        tuner.start_task(tasks[i], self.materials.model)
        order = turns(plan.weights, round(plan.updates * spec.budget.updates))
        return Training(
            model=self.materials.model,
            method=self.method,
            tuner=tuner,
            optimizers={j: adamw(self.materials.model, tuner, spec) for j in dict.fromkeys(order)},
            spec=spec,
            tasks=tasks,
            order=order,
            step=i,
            seed=self.plan.seed,
            micro_batch=self.micro_batch,
            bounds={name: plan.updates * bound for name, bound in spec.budget.bounds.items()},
        )

    def _step(self, training: Training) -> None:
        """The rest of a step: train, end the task, evaluate."""
        i, model = training.step, self.materials.model
        self.team.share_weights(training.parameters)
        self.reporter.stage(f"task {i}: {self.sequence.task(i).name}", len(training.order), training.update)

        lines = [line for line in self.folder.read_log() if line["task"] == i]

        def after(line: dict[str, Any]) -> None:
            training.seconds += line["seconds"]
            self._note_micro_batch(training)
            self.folder.append_log(line)
            lines.append(line)
            self.reporter.advance(note=watched(lines))
            if self.tracker:
                self.tracker.updated(line)
            every = self.sequence.evaluation.every
            if every and training.update % every == 0 and not training.finished:
                self.steps.make_within(training)
            if training.update % CHECKPOINT_EVERY == 0:
                self._checkpoint("latest", training)

        training.run(after)
        if not training.ended:
            began = time.perf_counter()
            self.method.end_task(training.tasks[i], model)
            training.seconds, training.ended = training.seconds + time.perf_counter() - began, True
            self._checkpoint("latest", training)
        self.steps.make(training)
        if self.tracker:
            self.tracker.scored(self.steps.row(i))
        if i in self.shared:
            prefix.keep(self.folder, self.plan, self.materials, i)

    def _note_micro_batch(self, training: Training) -> None:
        """Says and records that micro-batches became smaller, and keeps them so in the tasks that follow."""
        if training.micro_batch < training.began_with and training.micro_batch != self.micro_batch:
            self.micro_batch = training.micro_batch
            self.folder.update_run(micro_batch=self.micro_batch)
            self.reporter.say(
                f"out of memory: from here on {self.micro_batch} of {training.spec.budget.batch} samples at once; an "
                "update is the same up to rounding"
            )

    # -- checkpoints -----------------------------------------------------------------------------------------

    def _checkpoint(self, name: str, training: Training) -> None:
        self.steps.count(training)
        saved = {
            "step": training.step,
            "update": training.update,
            "ended": training.ended,
            "seconds": training.seconds,
            "calls": accounts.listed(training.calls),
            "watched_seconds": training.watched_seconds,
            "watched_calls": accounts.listed(training.watched_calls),
            "adapters": self.materials.model.adapter_state(),
            "optimizers": {j: one.state_dict() for j, one in training.optimizers.items()},
            "method": self.method.state_dict(),
            "tuner": training.tuner.state_dict(),
        }
        try:
            self.folder.save_checkpoint(name, saved)
        except TypeError as error:
            raise UserError(
                f"what a resume needs cannot be stored: {error}",
                where="state_dict of the method or the tuner",
                hint="give tensors and plain values (numbers, text, lists, dicts)",
            ) from error

    def _last_checkpoint(self) -> str | None:
        found = [path for name in ("latest", "start") if (path := self.folder.checkpoint(name)).exists()]
        return f"the last good checkpoint is {found[0]}" if found else None

    def _resumed(self, i: int) -> Training | None:
        """Puts back the newest checkpoint; the training of task i if it is one of that, else None."""
        self.steps.take_calls()  # step 0's are recorded; what a killed process counted is in its checkpoint
        found = self.team.from_main(
            lambda: [self.folder.load_checkpoint(name) for name in ("start", "latest")]
        )
        found = [saved for saved in found if saved is not None]
        if not found:
            if i > 1:
                raise UserError(
                    f"step {i - 1} is done, but the checkpoint to go on from is gone",
                    where=str(self.folder.path / names.CHECKPOINTS),
                    hint="delete the run's folder and run it again",
                )
            return None
        saved = max(found, key=lambda one: (one["step"], one["update"], one["ended"]))
        self.materials.model.load_adapter_state(saved["adapters"])
        self.method.load_state_dict(_on(self.device, saved["method"]))
        if saved["step"] < i and saved["ended"]:  # killed between two tasks
            return None
        if saved["step"] < i:  # the checkpoint of its end is lost: that step is made again, to the same bytes
            i = saved["step"]
            self.team.on_main(lambda: self.folder.update_run(steps=self.folder.read_run()["steps"][:i]))
        training = self._training(i)
        for j, one in training.optimizers.items():
            one.load_state_dict(saved["optimizers"][j])
        training.tuner.load_state_dict(_on(self.device, saved["tuner"]))
        training.update, training.ended = saved["update"], saved["ended"]
        training.seconds, training.calls = saved["seconds"], accounts.counted(saved["calls"])
        training.watched_seconds = saved["watched_seconds"]
        training.watched_calls = accounts.counted(saved["watched_calls"])
        self.folder.truncate_log(i, training.update)
        self.reporter.say(f"going on from task {i}, update {training.update}")
        return training

    def _described(self) -> dict[str, Any]:
        """The method as run.json tells of it: its identity, and what its class says of itself."""
        doc = (type(self.method).__doc__ or "").strip().partition("\n")[0]
        described = self.plan.identity()["method"]
        return {
            **described,
            "oracle": self.method.oracle,
            "doc": doc,
            "resolved": self.method.options.model_dump(),
        }


def _described_failure(error: Exception) -> dict[str, str | None]:
    """A failure as run.json keeps it; what was not raised on purpose comes with its traceback."""
    trace = None if isinstance(error, RilError) else "".join(traceback.format_exception(error))
    return {"class": failure_class(error), "message": str(error) or repr(error), "traceback": trace}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _embedded(calibration: Calibration | None) -> dict[str, Any] | None:
    """A calibration as run.json keeps it, so that a run's figures need no other file."""
    if calibration is None or calibration.file is None:
        return None
    return {
        "file": calibration.file.name,
        "sha256": sha256_file(calibration.file),
        "content": calibration.model_dump(mode="json"),
    }


def _on(device: torch.device, tree: Any) -> Any:
    """The tree with its tensors on a device."""
    if isinstance(tree, Tensor):
        return tree.to(device)
    if isinstance(tree, Mapping):
        return {key: _on(device, value) for key, value in tree.items()}
    return [_on(device, value) for value in tree] if isinstance(tree, list) else tree
