"""The loop over tasks: tune, evaluate, store; and go on from wherever an earlier process stopped."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load
from torch import Tensor

from ril_bench import accounts, provenance, registry
from ril_bench.cache import cached
from ril_bench.errors import NumericalError, RilError, UserError
from ril_bench.evaluation import FID_REFERENCE, matrix, step_zero_key
from ril_bench.materials import Materials
from ril_bench.methods import Method
from ril_bench.pages import write_page
from ril_bench.plan import RunPlan
from ril_bench.progress import Reporter
from ril_bench.scoring import scale, score_run
from ril_bench.spec import Calibration, load_calibration
from ril_bench.store import RunFolder, sha256_file
from ril_bench.training import Training, optimizer, turns

SCHEMA_VERSION = 1
CHECKPOINT_EVERY = 10  # updates
TOLERANCE_SAME_CPU, TOLERANCE = 0.05, 0.2  # of row 0 to the calibration, in deviations over prompts


class Runner:
    """One run: a plan, worked off in its folder. `execute` may be called again after any interruption.

    A step's life: start_task -> checkpoint "start" -> updates, with checkpoint "latest" now and then -> end_task ->
    "latest" (ended) -> adapter, pictures, scores -> its entry in run.json, which makes it done. Whatever a killed
    process did after the newest of these is done again, to the same bytes.
    """

    def __init__(
        self, plan: RunPlan, out: Path, *, device: str = "cpu", threads: int | None = None, reporter: Reporter
    ):
        self.plan, self.sequence = plan, plan.sequence
        self.folder = RunFolder(plan.folder(out))
        self.device, self.threads = torch.device(device), threads
        self.reporter = reporter
        self.calibration = load_calibration(self.sequence) if plan.comparable else None
        scale(
            self.calibration, self.sequence.order
        )  # a task that cannot be learned is refused before it is trained
        self.method: Method = registry.load("method", plan.method)(**plan.method_options)

    def execute(self) -> Path:
        """Runs what is left of the plan and returns its folder; at once if it is complete.

        Raises the cause of a failure; run.json then names it, and what was computed stays.
        """
        with self.folder.lock(), self.reporter:
            if self.folder.exists and self._is_complete():
                self.folder.drop_checkpoints()  # where it was killed just before that
                self.reporter.say(f"already complete: {self.folder.path}")
                return self.folder.path
            self._claim()
            try:
                self._work()
            except Exception as error:
                if isinstance(error, NumericalError):
                    error.mend = "; ".join(filter(None, [error.mend, self._last_checkpoint()]))
                self.folder.update_run(
                    status="failed", failure={"class": _kind(error), "message": str(error)}
                )
                raise
        return self.folder.path

    def _is_complete(self) -> bool:
        """Whether this very run is; raises UserError if the folder holds another one."""
        run, mine = self.folder.read_run(), self.plan.identity()
        run["method"] = {key: run["method"].get(key) for key in mine["method"]}  # less what the class says
        if others := [key for key in mine if run.get(key) != mine[key]]:
            raise UserError(
                f"this folder holds another run: {', '.join(others)} differ",
                where=str(self.folder.path),
                mend="give changed settings a --label, choose another --out, or delete the folder",
            )
        return bool(run["status"] == "complete")

    def _claim(self) -> None:
        # Sums differ with the number of threads: a resume takes the run's own, not this machine's default.
        recorded = self.folder.read_run()["hardware"]["threads"] if self.folder.exists else None
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
            hardware=provenance.hardware(self.device),
        )

    def _work(self) -> None:
        self.reporter.say(f"{self.sequence.name}, {self.plan.method}, seed {self.plan.seed}: loading")
        self.materials = Materials.load(self.sequence, self.device)
        for i in range(1, len(self.sequence.tasks) + 1):
            self.materials.tuner(i)  # a fault in task 3 is reported before task 1 is trained
        self.folder.update_run(weights=self.materials.weights, method=self._described())
        began, whole = time.perf_counter(), not self._done()
        if not self._done():
            self._step_zero()
        self._check_row_zero()
        self.method.bind(self.materials.model)
        training = self._resumed(self._done())
        for i in range(self._done(), len(self.sequence.tasks) + 1):
            self._step(training or self._started(i))
            training = None
        self._finish(began if whole else None)

    def _finish(self, began: float | None) -> None:
        score_run(self.folder.path)
        write_page(self.folder.path)
        cost = None
        if began is not None:
            seconds = time.perf_counter() - began
            self.reporter.say("measuring the bare cost of what was counted")
            cost = accounts.cost(self.folder.read_run()["steps"], seconds, self.materials)
        self.folder.update_run(status="complete", finished=_now(), cost=cost)
        write_page(self.folder.path)  # again: now it says what the run cost
        self.folder.drop_checkpoints()
        if cost:
            self.reporter.say(
                f"training {cost['training_seconds']:.0f} s ({cost['training_ratio']:.2f} x bare cost), "
                f"whole run {cost['run_seconds']:.0f} s ({cost['run_ratio']:.2f} x)"
            )

    # -- step 0 ----------------------------------------------------------------------------------------------

    def _step_zero(self) -> None:
        began = time.perf_counter()
        key = step_zero_key(
            self.materials.evaluator,
            self.sequence,
            self.materials.weights,
            versions=provenance.versions(),
            hardware=provenance.hardware(self.device),
        )
        files = cached("step-0", key, self._make_step_zero)
        prompts = [
            {"prompt_id": prompt_id, "prompt": prompt}
            for prompt_id, prompt in zip(
                self.materials.evaluator.prompt_ids, self.materials.eval_prompts, strict=True
            )
        ]
        self.folder.write_json("prompts.json", prompts)
        self._record(0, files, began)

    def _make_step_zero(self) -> dict[str, bytes]:
        evaluator = self.materials.evaluator
        self.reporter.stage("step 0: pictures and scores of the pretrained model", 2)
        reference = evaluator.files(evaluator.pictures({}, FID_REFERENCE), FID_REFERENCE)
        self.reporter.advance()
        return {**reference, **self._evaluated(0, {})}

    def _check_row_zero(self) -> None:
        """Row 0 must be the calibration's, or the normalised figures would mean nothing."""
        if self.calibration is None:
            return
        same = self.calibration.made_with.get("cpu") == provenance.processor()
        tolerance = TOLERANCE_SAME_CPU if same and self.device.type == "cpu" else TOLERANCE
        row = matrix(pd.read_parquet(self.folder.step(0) / "scores.parquet")).iloc[0]
        far = [
            f"{name} {row[name]:.4g}, calibrated {entry.b:.4g} (sigma {entry.sigma:.3g})"
            for name, entry in self.calibration.rewards.items()
            if name in row and abs(row[name] - entry.b) > tolerance * entry.sigma
        ]
        if far:
            raise UserError(
                f"row 0 is off the sequence's calibration by more than {tolerance} sigma: {'; '.join(far)}",
                where=str(self.calibration.file),
                mend=f"weights or libraries differ; to use these: ril-bench calibrate {self.plan.reference}",
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
        self.folder.checkpoint("latest").unlink(missing_ok=True)
        return training

    def _training(self, i: int) -> Training:
        """Task i's training before its first update, on the adapters as they stand."""
        spec, tuner = self.sequence.task(i), self.materials.tuner(i)
        plan = self.method.plan(self.sequence.order[:i], i)
        tasks = {j: self.materials.task(j, step=i, seed=self.plan.seed) for j in {*plan.weights, i}}
        tuner.start_task(tasks[i], self.materials.model)
        return Training(
            model=self.materials.model,
            method=self.method,
            tuner=tuner,
            optimizer=optimizer(self.materials.model, tuner, spec),
            spec=spec,
            tasks=tasks,
            order=turns(plan.weights, round(plan.updates * spec.budget.updates)),
            step=i,
            seed=self.plan.seed,
        )

    def _step(self, training: Training) -> None:
        """The rest of a step: train, end the task, evaluate."""
        i, model = training.step, self.materials.model
        self.reporter.stage(f"task {i}: {self.sequence.task(i).name}", len(training.order), training.update)

        def after(line: dict[str, Any]) -> None:
            training.seconds += line["seconds"]
            self.folder.append_log(line)
            self.reporter.advance(note=f"reward {line['score']:.4g}")
            if training.update % CHECKPOINT_EVERY == 0:
                self._checkpoint("latest", training)

        training.run(after)
        if not training.ended:
            began = time.perf_counter()
            self.method.end_task(training.tasks[i], model)
            training.seconds, training.ended = training.seconds + time.perf_counter() - began, True
            self._checkpoint("latest", training)
        began = time.perf_counter()
        lora = model.write_lora()
        self.folder.write_bytes(f"step-{i}/adapter.safetensors", lora)
        self.reporter.stage(f"step {i}: pictures and scores", 1)
        files = self._evaluated(i, {name: value.to(self.device) for name, value in load(lora).items()})
        self._record(i, files, began, training)

    def _evaluated(self, i: int, lora: Mapping[str, Tensor]) -> dict[str, bytes]:
        """A step's pictures and scores, as files."""
        evaluator = self.materials.evaluator
        pictures = evaluator.pictures(lora)
        scores = evaluator.scores(pictures, i)
        self.reporter.advance()
        return {**evaluator.files(pictures), "scores.parquet": scores.to_parquet(index=False)}

    def _record(
        self, i: int, files: Mapping[str, bytes], began: float, training: Training | None = None
    ) -> None:
        """Stores what a step gave; its entry in run.json, written last, makes it done."""
        self.folder.write_all({f"step-{i}/{name}": data for name, data in files.items()})
        scores = pd.concat(
            [pd.read_parquet(self.folder.step(k) / "scores.parquet") for k in range(i + 1)], ignore_index=True
        )
        self.folder.write_parquet("scores.parquet", scores)
        self.folder.write_csv("matrix.csv", matrix(scores))
        model = self.materials.model
        trained, evaluated = training.calls if training else Counter(), self._take_calls()
        entry = {
            "step": i,
            "reward": self.sequence.task(i).name if i else None,
            "train_seconds": training.seconds if training else 0.0,
            "evaluation_seconds": time.perf_counter() - began,
            **accounts.spent(trained + evaluated),
            "peak_memory_bytes": provenance.peak_memory(self.device),
            "trainable_bytes": accounts.tensor_bytes(model.parameters()),
            "stored_bytes": accounts.tensor_bytes(model.joined()),
            "carried_bytes": accounts.tensor_bytes([model.adapter_state(), self.method.state_dict()])
            if training
            else 0,
            "training_calls": accounts.listed(trained),
            "evaluation_calls": accounts.listed(evaluated),
        }
        self.folder.update_run(steps=[*self.folder.read_run()["steps"], entry])

    def _done(self) -> int:
        """How many steps are done, step 0 counted."""
        return len(self.folder.read_run()["steps"])

    # -- checkpoints -----------------------------------------------------------------------------------------

    def _checkpoint(self, name: str, training: Training) -> None:
        training.calls += self._take_calls()
        saved = {
            "step": training.step,
            "update": training.update,
            "ended": training.ended,
            "seconds": training.seconds,
            "calls": accounts.listed(training.calls),
            "adapters": self.materials.model.adapter_state(),
            "optimizer": training.optimizer.state_dict(),
            "method": self.method.state_dict(),
            "tuner": training.tuner.state_dict(),
        }
        self.folder.save_checkpoint(name, saved)

    def _last_checkpoint(self) -> str | None:
        found = [path for name in ("latest", "start") if (path := self.folder.checkpoint(name)).exists()]
        return f"the last good checkpoint is {found[0]}" if found else None

    def _resumed(self, i: int) -> Training | None:
        """Puts back the newest checkpoint; the training of task i if it is one of that, else None."""
        self._take_calls()  # step 0's are recorded; what a killed process counted is in its checkpoint
        found = [self.folder.load_checkpoint(name) for name in ("start", "latest")]
        found = [saved for saved in found if saved is not None]
        if not found:
            if i > 1:
                raise UserError(
                    f"step {i - 1} is done, but the checkpoint to go on from is gone",
                    where=str(self.folder.path / "checkpoint"),
                    mend="delete the run's folder and run it again",
                )
            return None
        saved = max(found, key=lambda one: (one["step"], one["update"], one["ended"]))
        self.materials.model.load_adapter_state(saved["adapters"])
        self.method.load_state_dict(_on(self.device, saved["method"]))
        if saved["step"] < i and saved["ended"]:  # killed between two tasks
            return None
        if saved["step"] < i:  # the checkpoint of its end is lost: that step is made again, to the same bytes
            i = saved["step"]
            self.folder.update_run(steps=self.folder.read_run()["steps"][:i])
        training = self._training(i)
        training.optimizer.load_state_dict(saved["optimizer"])
        training.tuner.load_state_dict(_on(self.device, saved["tuner"]))
        training.update, training.ended = saved["update"], saved["ended"]
        training.seconds, training.calls = saved["seconds"], accounts.counted(saved["calls"])
        self.folder.truncate_log(i, training.update)
        self.reporter.say(f"going on from task {i}, update {training.update}")
        return training

    # -- accounts --------------------------------------------------------------------------------------------

    def _take_calls(self) -> Counter[Any]:
        """The calls counted since they were last taken."""
        counter = self.materials.model.counter
        calls = Counter(counter)
        counter.clear()
        return calls

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


def _kind(error: Exception) -> str:
    """The class of a failure: user, numerical, memory or infrastructure."""
    if isinstance(error, RilError):
        return error.kind
    return "memory" if isinstance(error, torch.OutOfMemoryError | MemoryError) else "infrastructure"


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
