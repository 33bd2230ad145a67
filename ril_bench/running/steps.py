"""What a step leaves in a run's folder: adapter, images, scores, and its entry in run.json, which makes it done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load
from torch import Tensor

from ril_bench.errors import UserError
from ril_bench.machine.parallel import team
from ril_bench.running import accounts, provenance
from ril_bench.running.evaluation import step_zero_key
from ril_bench.running.materials import Materials
from ril_bench.running.progress import Reporter
from ril_bench.running.training import Training
from ril_bench.scoring.matrix import matrix
from ril_bench.sequences.calibrations import Calibration
from ril_bench.storage import names
from ril_bench.storage.cache import cached, read, write
from ril_bench.storage.run_folder import RunFolder

ZERO = names.step(0)  # in the cache
TOLERANCE_SAME_CPU, TOLERANCE = 0.05, 0.2  # of row 0 to the calibration, in deviations over prompts


class Steps:
    """The steps of a run, each evaluated and stored."""

    def __init__(self, folder: RunFolder, materials: Materials, reporter: Reporter):
        self.folder, self.materials, self.reporter, self.team = folder, materials, reporter, team()
        self.sequence, self.device = materials.sequence, materials.model.device

    @property
    def done(self) -> int:
        """How many are, step 0 counted."""
        return len(self.folder.read_run()["steps"])

    # -- step 0 ----------------------------------------------------------------------------------------------

    def make_zero(self) -> None:
        """Step 0, from the cache where another run has made it."""
        began = time.perf_counter()
        evaluator = self.materials.evaluator
        key = step_zero_key(
            evaluator,
            self.sequence,
            self.materials.weights,
            versions=provenance.versions(),
            hardware=provenance.hardware(self.device, self.materials.compute),
        )
        files = self._zero_kept(key)
        prompts = [
            {"prompt_id": prompt_id, "prompt": prompt}
            for prompt_id, prompt in zip(evaluator.prompt_ids, self.materials.eval_prompts, strict=True)
        ]
        self.folder.write_json(names.PROMPTS, prompts)
        self._record(0, files, began)

    def _zero_kept(self, key: Mapping[str, Any]) -> Mapping[str, bytes]:
        """Step 0's files, in the main process; from the cache where they are there, made together where not."""
        if self.team.size == 1:
            return cached(ZERO, key, self._zero)
        kept = self.team.on_main(lambda: read(ZERO, key))
        if self.team.from_main(lambda: kept is None):
            kept = self._zero()
            self.team.on_main(lambda: write(ZERO, key, kept))
        return kept or {}

    def _zero(self) -> dict[str, bytes]:
        evaluator = self.materials.evaluator
        self.reporter.stage("step 0: images and scores of the pretrained model", 2)
        reference = evaluator.files(evaluator.images({}, names.FID_REFERENCE), names.FID_REFERENCE)
        self.reporter.advance()
        return {**reference, **self._evaluated(0, {})}

    def check_row_zero(self, calibration: Calibration, hint: str) -> None:
        """Row 0 must be the calibration's, or the normalised figures would mean nothing.

        Raises UserError beyond 0.05 sigma on the processor it was made on, 0.2 on others.
        """
        cpu = provenance.processor() if self.device.type == "cpu" else None
        if far := off_calibration(self.row(0), calibration, cpu):
            raise UserError(
                far,
                where=str(calibration.file),
                hint=f"weights or libraries differ; to use these: {hint}",
            )

    # -- a trained step --------------------------------------------------------------------------------------

    def make(self, training: Training) -> None:
        """The step that a training has led to."""
        began, i = time.perf_counter(), training.step
        lora = self.materials.model.lora_bytes()
        self.folder.write_bytes(names.adapter(i), lora)
        self.reporter.stage(f"step {i}: images and scores", 1)
        self._record(i, self._evaluated(i, self._loaded(lora)), began, training)

    def make_within(self, training: Training) -> None:
        """Scores between two updates (evaluation.every), for the anytime figures; the images are not kept."""
        self.count(training)
        began, i = time.perf_counter(), training.step
        images = self.materials.evaluator.images(self._loaded(self.materials.model.lora_bytes()))

        def stored() -> None:
            scores = self.materials.evaluator.scores(images, i)
            scores.insert(1, "update", training.update)
            self.folder.write_parquet(names.in_step(i, names.scores_after(training.update)), scores)

        self.team.on_main(stored)
        training.watched_seconds += time.perf_counter() - began
        training.watched_calls += self.take_calls()

    def _loaded(self, lora: bytes) -> dict[str, Tensor]:
        """The tensors of a file, as everybody else will load it."""
        return {name: value.to(self.device) for name, value in load(lora).items()}

    def _evaluated(self, i: int, lora: Mapping[str, Tensor]) -> dict[str, bytes]:
        """A step's images and scores, as files: the images made together, the scores by the main process."""
        evaluator = self.materials.evaluator
        images = evaluator.images(lora)
        scores = self.team.on_main(lambda: evaluator.scores(images, i).to_parquet(index=False))
        self.reporter.advance()
        return {**evaluator.files(images), names.SCORES: scores} if scores is not None else {}

    def _record(
        self, i: int, files: Mapping[str, bytes], began: float, training: Training | None = None
    ) -> None:
        """Stores what a step gave; its entry in run.json, written last, makes it done."""
        evaluated = self.take_calls()
        self.team.on_main(lambda: self._stored(i, files, began, evaluated, training))

    def _stored(
        self,
        i: int,
        files: Mapping[str, bytes],
        began: float,
        evaluated: accounts.Calls,
        training: Training | None,
    ) -> None:
        self.folder.write_all({names.in_step(i, name): data for name, data in files.items()})
        write_tables(self.folder, i)
        model = self.materials.model
        trained: accounts.Calls = Counter()
        seconds = time.perf_counter() - began
        if training:
            trained, seconds = training.calls, seconds + training.watched_seconds
            evaluated += training.watched_calls
        entry = {
            "step": i,
            "reward": self.sequence.task(i).name if i else None,
            "train_seconds": training.seconds if training else 0.0,
            "evaluation_seconds": seconds,
            **accounts.spent(trained + evaluated),
            "peak_memory_bytes": provenance.peak_memory(self.device),
            "trainable_bytes": accounts.tensor_bytes(model.parameters()),
            "stored_bytes": accounts.tensor_bytes(model.joined()),
            "carried_bytes": accounts.tensor_bytes([model.adapter_state(), training.method.state_dict()])
            if training
            else 0,
            "training_calls": accounts.listed(trained),
            "evaluation_calls": accounts.listed(evaluated),
        }
        self.folder.update_run(steps=[*self.folder.read_run()["steps"], entry])

    def row(self, i: int) -> dict[str, float]:
        """Row i of the reward matrix."""
        row = matrix(pd.read_parquet(self.folder.step(i) / names.SCORES)).iloc[0]
        return {str(name): float(value) for name, value in row.items()}

    # -- calls -----------------------------------------------------------------------------------------------

    def count(self, training: Training) -> None:
        """Adds the calls since they were last taken to a training's."""
        training.calls += self.take_calls()

    def take_calls(self) -> Counter[Any]:
        """The calls counted since they were last taken."""
        counter = self.materials.model.counter
        calls = Counter(counter)
        counter.clear()
        return calls


def off_calibration(row: Mapping[Any, float], calibration: Calibration, cpu: str | None) -> str | None:
    """What is wrong with row 0 of a run on this processor (None: on a GPU); None where nothing is."""
    same = cpu is not None and calibration.made_with.get("cpu") == cpu
    tolerance = TOLERANCE_SAME_CPU if same else TOLERANCE
    far = [
        f"{name} {row[name]:.4g}, calibrated {entry.b:.4g} (sigma {entry.sigma:.3g})"
        for name, entry in calibration.rewards.items()
        if name in row and abs(row[name] - entry.b) > tolerance * entry.sigma
    ]
    if not far:
        return None
    return f"row 0 is off the sequence's calibration by more than {tolerance} sigma: {'; '.join(far)}"


def write_tables(folder: RunFolder, i: int) -> None:
    """scores.parquet, matrix.csv and, if there are scores between updates, anytime.parquet: of the steps up to i."""
    scores = _joined([folder.step(k) / names.SCORES for k in range(i + 1)])
    folder.write_parquet(names.SCORES, scores)
    folder.write_csv(names.MATRIX, matrix(scores))
    within = [file for k in range(1, i + 1) for file in sorted(folder.step(k).glob(names.SCORES_AFTER))]
    if within:
        folder.write_parquet(names.ANYTIME, _joined(within))


def _joined(files: list[Path]) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
