"""The loop over tasks: train, evaluate, store. It resumes where an earlier process stopped."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from ril_bench.config.counts import THREADS, count
from ril_bench.errors import UserError
from ril_bench.machine.compute import PLAIN, Compute
from ril_bench.machine.packages import versions
from ril_bench.machine.parallel import team
from ril_bench.machine.peak_memory import start_peak_memory
from ril_bench.running import accounts, checkpoints, consolidation, provenance, shared_steps
from ril_bench.running.checkpoints import LATEST, START
from ril_bench.running.failures import recorded_failures
from ril_bench.running.hooks import refuse_changed_weights, watched
from ril_bench.running.inputs import inputs_of_method, inputs_of_settings, refuse_changes
from ril_bench.running.materials import Materials
from ril_bench.running.new_training import new_training
from ril_bench.running.owners import owners
from ril_bench.running.plan import RunPlan
from ril_bench.running.progress import Reporter, duration, progress_note
from ril_bench.running.repair import Repair, drop_scores_after, prepare, refuse_log_gap
from ril_bench.running.run_record import calibration_record, method_record, now, same_numerics, tuner_records
from ril_bench.running.step_plan import step_plan
from ril_bench.running.steps import Steps, gain_note
from ril_bench.running.trackers import Tracker
from ril_bench.running.training import Training
from ril_bench.running.units import Units
from ril_bench.scoring.score import score_run
from ril_bench.storage import names
from ril_bench.storage.integrity import refuse_damage
from ril_bench.storage.names import CONSOLIDATION
from ril_bench.storage.read import SCHEMA_VERSION
from ril_bench.storage.run_folder import Onlooker, RunFolder
from ril_bench.worlds.missing import missing_metrics

CHECKPOINT_EVERY = 10  # updates


class Runner:
    """Executes the plan of one run in its folder. After an interruption, call `execute` again.

    The stages of a step: start_task -> checkpoint "start" -> updates, with checkpoint "latest" every
    `checkpoint_every` updates -> end_task -> checkpoint "latest" (ended) -> adapter, images, scores -> the
    step's entry in run.json. A step is done when run.json has its entry. After a kill, the next process
    repeats the work since the newest checkpoint or entry, and gets the same bytes.

    A launcher may start the run in several processes. Each process computes its share of every batch; only
    the main process writes.

    Args:
        compute: number formats and memory savers; None for the formats with which the run began, or float32.
        shared: numbers of steps that other runs of a grid have in common with this run. The run stores these
            steps for the other runs, or adopts the steps that they stored.
        materials: the loaded materials of the sequence; None to load them. Their adapters are deleted.
        tracker: also logs every update and step.
        repair: whether to compute damaged files again. Without it, a damaged file is an error.
        account: whether to measure, at the end, the seconds that the counted calls take alone. Use False
            while other runs use the machine.
        checkpoint_every: the number of updates of a task between two checkpoints.
        last: the last step to train; None for all. The run is not complete without all of them.
        reporter: prints the progress.
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
        repair: bool = False,
        checkpoint_every: int = CHECKPOINT_EVERY,
        last: int | None = None,
        reporter: Reporter,
    ):
        self.plan, self.sequence = plan, plan.sequence
        self.team = team(device)
        self.folder = (RunFolder if self.team.main else Onlooker)(plan.folder(out))
        self.device, self.shared = torch.device(device), shared
        self.threads = None if threads is None else count(threads, "threads", least=1, most=THREADS)
        self.requested_compute, self.compute = compute, compute or PLAIN
        self.micro_batch = 0  # 0: the size in the budget, until an update runs out of memory
        self.loaded_materials = materials
        self.checkpoint_every = checkpoint_every
        self.last = len(self.sequence.tasks) if last is None else last
        self.reporter = reporter if self.team.main else Reporter(quiet=True)
        self.tracker, self.account = tracker if self.team.main else None, account
        self.repair, self.again = repair, Repair()
        self.calibration = plan.load_calibration()
        self.inputs = inputs_of_method(plan.method)  # before the code is imported; the rest follows
        self.method = plan.build_method()
        plan.check_steps(self.method)

    def execute(self) -> Path:
        """Executes the rest of the plan, and returns the run's folder.

        Returns at once if the run is complete. Raises the cause of a failure. run.json then states the
        failure, and all computed results stay.
        """
        with self.folder.lock(), self.reporter, self.tracker or nullcontext():
            complete = self.team.from_main(self._is_complete)
            recorded = self.team.from_main(self._recorded_hardware)
            self.compute = same_numerics(self.requested_compute, recorded.get("compute"), self.folder.path)
            if complete:
                self.folder.drop_checkpoints()  # an earlier process may have been killed just before this
                self.reporter.say(f"already complete: {self.folder.path}")
                return self.folder.path
            self._record_start(recorded.get("threads"))
            with recorded_failures(self.folder, owners(self.plan.sequence, self.plan.method)):
                self._run_steps()
        return self.folder.path

    def _is_complete(self) -> bool:
        """Whether the folder holds this run, complete and whole. Prepares a repair.

        Raises UserError where the folder holds another run, or damaged files that are not to be repaired.
        """
        complete = self.plan.is_complete(self.folder)
        if self.folder.exists and self.repair:
            self.again = prepare(self.folder)
            if found := self.again.damaged:
                then = "training all tasks again" if self.again.train else "computing them again"
                self.reporter.say(f"damaged: {', '.join(found)}; {then}")
        elif self.folder.exists:
            refuse_damage(self.folder.path, self.folder.read_run())
        return complete and not self.again.damaged

    def _recorded_hardware(self) -> dict[str, Any]:
        """The hardware on which the run began, empty for a new run."""
        return self.folder.read_run().get("hardware") or {} if self.folder.exists else {}

    def _record_start(self, recorded_threads: int | None) -> None:
        # Sums depend on the number of threads: a run that is continued keeps the number with which it began.
        if threads := recorded_threads or self.threads:
            torch.set_num_threads(threads)
        if recorded_threads and self.threads and recorded_threads != self.threads:
            self.reporter.say(f"this run began with {recorded_threads} threads and keeps them")
        fresh = {
            "schema_version": SCHEMA_VERSION,
            **self.plan.identity(),
            "started": now(),
            "steps": [],
            "cost": None,
            "calibration": calibration_record(self.calibration),
        }
        self.folder.update_run(
            **({} if self.folder.exists else fresh),
            status="running",
            failure=None,
            device=str(self.device),
            versions=versions(),
            git=provenance.revision(),
            hardware=provenance.hardware(self.device, self.compute) | {"processes": self.team.size},
        )

    def _run_steps(self) -> None:
        self._load_materials()
        began = time.perf_counter()
        done = self.team.from_main(lambda: self.steps.done)
        in_one_go = not done
        self._measure_units()
        start_peak_memory(self.device)
        if not done:
            self.steps.evaluate_step_zero()
        self.steps.evaluate_again(self.team.from_main(lambda: self.again))
        in_one_go &= not self.team.on_main(self._adopt_shared_steps)
        done = self.team.from_main(lambda: self.steps.done)
        self.method.bind(self.materials.model)
        training = self._resumed(done) if done <= len(self.sequence.tasks) else None
        if self.tracker:
            self.tracker.begin_after(len(self.folder.read_log()))
        for i in range(training.step if training else done, self.last + 1):
            start_peak_memory(self.device)
            self._train_and_evaluate(training or self._start_task(i))
            training = None
        if self.last < len(self.sequence.tasks):
            return
        self.team.on_main(lambda: self._finish(began if in_one_go and self.account else None))

    def _load_materials(self) -> None:
        self.reporter.say(f"{self.sequence.name}, {self.plan.method}, seed {self.plan.seed}: loading")
        if not self.reporter.quiet:
            for note in missing_metrics(self.sequence.home):
                self.reporter.say(f"note: this run will have {note}")
        if self.loaded_materials is None:
            with self.team.main_first():
                self.loaded_materials = Materials.load(self.sequence, self.device, self.compute)
        self.materials = self.loaded_materials
        self.method = watched(self.method, self.plan.method, self.materials.model, self.materials.frozen)
        self._delete_adapters()
        self.materials.check_tuners()  # a fault in task 3 is reported before task 1 is trained
        self.materials.model.counter.clear()  # this check is no part of the run
        method = method_record(self.plan.identity()["method"], self.method)
        self.inputs |= self.materials.inputs | inputs_of_settings(self.sequence)
        self.team.on_main(self._record_inputs)
        self.folder.update_run(
            weights=self.materials.weights, method=method, tuners=tuner_records(self.sequence)
        )
        self.steps = Steps(self.folder, self.materials, self.reporter)

    def _record_inputs(self) -> None:
        """Records the inputs of a new run. Raises UserError where a run began with others."""
        run = self.folder.read_run()
        recorded = run.get("inputs") or {}
        refuse_changes(recorded, self.inputs, self.folder.path, complete=False)
        if run["steps"] and not recorded:
            self.reporter.say("note: an earlier version began this run, and did not record its inputs")
        self.folder.update_run(inputs=self.inputs | recorded)

    def _measure_units(self) -> None:
        """Measures the units of the rewards, or reads them from the cache. A resume keeps those of the run."""
        recorded = self.team.from_main(lambda: self.folder.read_run().get("units"))
        self.units = Units(self.materials, recorded)
        # They belong to no step: a cache may have the units.
        self.unit_calls = self.steps.take_calls()
        self.folder.update_run(units=self.units.record())

    def _delete_adapters(self) -> None:
        for name in self.materials.model.adapters:
            self.materials.model.delete_adapter(name)

    def _adopt_shared_steps(self) -> bool:
        """Adopts the steps of another run that begins with the same tasks.

        Returns whether there were such steps. Raises UserError where row 0 of the reward matrix differs from
        the calibration.
        """
        if self.calibration is not None:
            self.steps.check_row_zero(self.calibration, hint=f"ril-bench calibrate {self.plan.reference}")
        fresh = self.steps.done == 1 and not self.folder.checkpoint(START).exists()
        return fresh and shared_steps.adopt(self.folder, self.plan, self.materials, self.inputs, self.shared)

    def _finish(self, began: float | None) -> None:
        score_run(self.folder.path)
        # A repair that trains nothing leaves the cost of the training as it was measured.
        cost = self.folder.read_run()["cost"] if began is None else self._cost(time.perf_counter() - began)
        log = self.folder.path / names.LOG
        written = {names.LOG: log.read_bytes()} if log.exists() else {}
        self.folder.record(written, status="complete", finished=now(), cost=cost)
        self.folder.drop_checkpoints()
        if cost:
            self.reporter.say(
                f"training took {duration(cost['training_seconds'])}, {cost['training_ratio']:.2f} times as "
                f"long as its model and reward calls alone; the whole run took {duration(cost['run_seconds'])} "
                f"({cost['run_ratio']:.2f} times)"
            )

    def _cost(self, seconds: float) -> dict[str, float | bool]:
        steps = self.folder.read_run()["steps"]
        if self.steps.zero_was_cached:  # this run did not spend the time of these calls
            steps[0] = {**steps[0], "evaluation_calls": []}
        units = {
            "training_calls": [],
            "evaluation_calls": accounts.as_rows(self.unit_calls),
            "train_seconds": 0,
        }
        return accounts.cost([*steps, units], seconds, self.materials)

    # -- a task ----------------------------------------------------------------------------------------------

    def _start_task(self, i: int) -> Training:
        """Starts task i: calls the method's start_task, and stores checkpoint "start"."""
        model, began = self.materials.model, time.perf_counter()
        if step_plan(self.method, self.sequence, i).start == "pretrained":
            self._delete_adapters()
        self.method.start_task(self.units.task(i, step=i, seed=self.plan.seed), model)
        training = self._training(i)
        training.seconds = time.perf_counter() - began
        self._save_checkpoint(START, training)
        self.folder.drop_checkpoint(LATEST)
        return training

    def _training(self, i: int) -> Training:
        """The training of task i before its first update, on the model's current adapters."""
        return new_training(
            i, self.materials, self.method, self.units, seed=self.plan.seed, micro_batch=self.micro_batch
        )

    def _train_and_evaluate(self, training: Training) -> None:
        """Does the rest of a step: trains, consolidates if the method does, ends the task, evaluates."""
        i, model = training.step, self.materials.model
        if not training.ended:
            phase = step_plan(self.method, self.sequence, i).consolidation
            self._update(training, last=phase is None or training.consolidates_from is not None)
            if training.criterion and training.consolidates_from is None:
                self.reporter.say(gain_note(training))
            if phase and training.consolidates_from is None:
                began = time.perf_counter()
                training = consolidation.consolidation(training, phase)
                training.seconds += time.perf_counter() - began
                self._save_checkpoint(LATEST, training)
                self._update(training, last=True)
            began = time.perf_counter()
            self.method.end_task(training.tasks[i], model)
            training.seconds, training.ended = training.seconds + time.perf_counter() - began, True
            self._save_checkpoint(LATEST, training)
        self.steps.evaluate(training)
        if self.tracker:
            self.tracker.scored(self.steps.row(i))
        if i in self.shared:
            shared_steps.keep(self.folder, self.plan, self.materials, self.inputs, i)

    def _update(self, training: Training, *, last: bool) -> None:
        """Does the remaining updates of a phase, with their log, evaluations and checkpoints.

        Args:
            last: no phase of the step follows, so the step's own evaluation comes after the last update.
        """
        i, rewarded = training.step, training.consolidates_from is None
        self.team.share_weights(training.parameters)
        stage = self.sequence.task(i).name if rewarded else CONSOLIDATION
        self.reporter.stage(f"task {i}: {stage}", training.updates, training.update)
        lines = [line for line in self.folder.read_log() if line["task"] == i]

        def after_update(line: dict[str, Any]) -> None:
            self._note_micro_batch(training)
            self.folder.append_log(line)
            lines.append(line)
            self.reporter.advance(note=progress_note(lines))
            if self.tracker:
                self.tracker.updated(line)
            every = self.sequence.evaluation.every
            if every and training.update % every == 0 and not (last and training.finished):
                self.team.gathered(lambda: refuse_changed_weights(training, self.materials.frozen))
                self.steps.evaluate_between_updates(training)
            if training.update % self.checkpoint_every == 0:
                self._save_checkpoint(LATEST, training)

        training.run(after_update)

    def _note_micro_batch(self, training: Training) -> None:
        """Reports and records that micro-batches became smaller; later tasks begin with this size."""
        if training.micro_batch < training.began_with and training.micro_batch != self.micro_batch:
            self.micro_batch = training.micro_batch
            self.folder.update_run(micro_batch=self.micro_batch)
            self.reporter.say(
                f"out of memory: from now on {self.micro_batch} of {training.spec.budget.batch} samples at "
                "once; updates stay the same up to rounding"
            )

    # -- checkpoints -----------------------------------------------------------------------------------------

    def _save_checkpoint(self, name: str, training: Training) -> None:
        # Nothing that depends on changed weights is kept: a resume would go on with the right ones.
        self.team.gathered(lambda: refuse_changed_weights(training, self.materials.frozen))
        self.steps.count(training)
        checkpoints.save(self.folder, name, training, self.micro_batch)

    def _resumed(self, i: int) -> Training | None:
        """Restores the newest checkpoint.

        Returns the training that the checkpoint belongs to; None if the next task has not begun.
        """
        state = self.team.from_main(lambda: checkpoints.newest(self.folder))
        if state is None:
            if i > 1:
                raise UserError(
                    f"step {i - 1} is done, but its checkpoint is missing, so the run cannot go on",
                    where=str(self.folder.path / names.CHECKPOINTS),
                    hint="add --repair to train all tasks again, or delete the run's folder",
                )
            self.steps.take_calls()
            return None
        self.materials.model.load_adapter_state(state["adapters"])
        self.method.load_state_dict(checkpoints.on_device(self.device, state["method"]))
        self.micro_batch = state["micro_batch"]
        if state["step"] < i and state["ended"]:  # killed between two tasks
            self.steps.take_calls()
            return None
        if state["step"] < i:
            # The checkpoint at the end of the step is lost: train the step again, to the same bytes.
            i = state["step"]
            self.team.on_main(lambda: self.folder.update_run(steps=self.folder.read_run()["steps"][:i]))
        training, phase = self._training(i), step_plan(self.method, self.sequence, i).consolidation
        if phase and state["consolidation"]:
            training = consolidation.resumed(training, phase, state["consolidation"])
        checkpoints.restore(training, state)
        # The checkpoint has the calls of the killed process, those of the start of the task included.
        self.steps.take_calls()
        self.folder.truncate_log(i, training.update)
        self.team.on_main(lambda: drop_scores_after(self.folder, i, training.update))
        self.team.on_main(lambda: refuse_log_gap(self.folder, i, training.update, repair=self.repair))
        self.reporter.say(f"resuming from task {i}, update {training.update}")
        return training
