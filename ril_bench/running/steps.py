"""Evaluates the steps of a run, and writes adapter, images, scores and entry in run.json.

A step is done when run.json has its entry.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load
from torch import Tensor

from ril_bench.diffusion.folding import scaled
from ril_bench.errors import UserError
from ril_bench.machine.parallel import team
from ril_bench.running import accounts, provenance
from ril_bench.running.inputs import step_zero_key
from ril_bench.running.materials import Materials
from ril_bench.running.progress import Reporter
from ril_bench.running.team_cache import cached_by_team
from ril_bench.running.training import Training
from ril_bench.scoring.matrix import matrix
from ril_bench.sequences.calibrations import Calibration
from ril_bench.storage import names
from ril_bench.storage.run_folder import RunFolder

ZERO = names.step(0)  # the folder of step 0 in the cache
#: the largest difference of row 0 from the calibration, in standard deviations over prompts
TOLERANCE_SAME_CPU, TOLERANCE = 0.05, 0.2


class Steps:
    """Evaluates the steps of a run, and stores their files."""

    def __init__(self, folder: RunFolder, materials: Materials, reporter: Reporter):
        self.folder, self.materials, self.reporter, self.team = folder, materials, reporter, team()
        self.sequence, self.device = materials.sequence, materials.model.device

    @property
    def done(self) -> int:
        """The number of steps that are done, step 0 included."""
        return len(self.folder.read_run()["steps"])

    # -- step 0 ----------------------------------------------------------------------------------------------

    def evaluate_step_zero(self) -> None:
        """Evaluates step 0, or reads it from the cache if another run has evaluated it."""
        began = time.perf_counter()
        evaluator = self.materials.evaluator
        hardware = provenance.hardware(self.device, self.materials.compute)
        key = step_zero_key(self.sequence, self.materials.inputs, hardware)
        files = cached_by_team(ZERO, key, self._zero)
        prompts = [
            {"prompt_id": prompt_id, "prompt": prompt}
            for prompt_id, prompt in zip(evaluator.prompt_ids, self.materials.eval_prompts, strict=True)
        ]
        self.folder.write_json(names.PROMPTS, prompts)
        self._record(0, files, began)

    def _zero(self) -> dict[str, bytes]:
        evaluator = self.materials.evaluator
        self.reporter.stage("step 0: images and scores of the pretrained model", 2)
        reference = evaluator.files(evaluator.images({}, names.FID_REFERENCE), names.FID_REFERENCE)
        self.reporter.advance()
        return {**reference, **self._evaluated(0, {})}

    def check_row_zero(self, calibration: Calibration, hint: str) -> None:
        """Checks that row 0 agrees with the calibration, so that normalised metrics are valid.

        Raises UserError where they differ by more than 0.05 sigma on the calibration's processor, or by more
        than 0.2 sigma on another processor.
        """
        cpu = provenance.processor() if self.device.type == "cpu" else None
        if far := off_calibration(self.row(0), calibration, cpu):
            raise UserError(
                far,
                where=str(calibration.file),
                hint=f"the weights or the libraries differ from the calibration's; to keep yours, run {hint}",
            )

    # -- a trained step --------------------------------------------------------------------------------------

    def evaluate(self, training: Training) -> None:
        """Evaluates and stores the step that a training has completed."""
        began, i = time.perf_counter(), training.step
        lora = self.materials.model.lora_bytes()
        self.folder.write_bytes(names.adapter(i), lora)
        self.reporter.stage(f"step {i}: images and scores", 1)
        loaded = self._loaded(lora)
        files = self._evaluated(i, loaded, self._references(i)) | self._at_scales(i, loaded)
        self._record(i, files, began, training)

    def _references(self, i: int) -> dict[str, Mapping[str, Tensor]]:
        """The adapters from which the drift of step i is measured; none where the sampler has no noise."""
        if self.sequence.sampler.eta == 0:
            return {}
        if i == 1:
            return {names.TO_0: {}}
        before = self.team.from_main(lambda: (self.folder.path / names.adapter(i - 1)).read_bytes())
        return {names.TO_0: {}, names.TO_PREVIOUS: self._loaded(before)}

    def evaluate_between_updates(self, training: Training) -> None:
        """Stores scores between two updates (evaluation.every), for the anytime metrics.

        Does not store the images.
        """
        self.count(training)
        began, i = time.perf_counter(), training.step
        images = self.materials.evaluator.images(self._loaded(self.materials.model.lora_bytes()))

        def store() -> None:
            scores = self.materials.evaluator.scores(images, i)
            scores.insert(1, "update", training.update)
            self.folder.write_parquet(names.in_step(i, names.scores_after(training.update)), scores)

        self.team.on_main(store)
        training.watched_seconds += time.perf_counter() - began
        training.watched_calls += self.take_calls()

    def _loaded(self, lora: bytes) -> dict[str, Tensor]:
        """The tensors of an adapter file, as a later reader loads them."""
        return {name: value.to(self.device) for name, value in load(lora).items()}

    def _evaluated(
        self,
        i: int,
        lora: Mapping[str, Tensor],
        references: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> dict[str, bytes]:
        """The images, scores and drift of a step as files.

        All processes generate images. The main process computes the scores.
        """
        evaluator = self.materials.evaluator
        generated = evaluator.generate(lora, references)
        scores = self.team.on_main(lambda: evaluator.scores(generated.images, i).to_parquet(index=False))
        self.reporter.advance()
        if scores is None:
            return {}
        files = {**evaluator.files(generated.images), names.SCORES: scores}
        if generated.drift:
            # The step before step 1 is step 0.
            drift = {names.TO_PREVIOUS: generated.drift[names.TO_0], **generated.drift}
            files[names.DRIFT] = evaluator.drift_table(drift).to_parquet(index=False)
        return files

    def _at_scales(self, i: int, lora: Mapping[str, Tensor]) -> dict[str, bytes]:
        """The file with the scores of step i's adapter at the scales between 0 and 1, if the sequence has any."""
        evaluator = self.materials.evaluator
        tables = []
        for scale in self.sequence.evaluation.inner_scales:
            images = evaluator.images(scaled(lora, scale))
            scores = self.team.on_main(partial(evaluator.scores, images, i))
            if scores is not None:
                scores.insert(1, "scale", scale)
                tables.append(scores)
        return {names.SCALES: pd.concat(tables).to_parquet(index=False)} if tables else {}

    def _record(
        self, i: int, files: Mapping[str, bytes], began: float, training: Training | None = None
    ) -> None:
        """Stores the files of a step. Writes the entry in run.json last: then the step is done."""
        evaluated = self.take_calls()
        self.team.on_main(lambda: self._store(i, files, began, evaluated, training))

    def _store(
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
            **(updates_and_gain(training) if training else {"updates": 0}),
            **accounts.spent(trained + evaluated),
            "peak_memory_bytes": provenance.peak_memory(self.device),
            "trainable_bytes": accounts.tensor_bytes(model.parameters()),
            "stored_bytes": accounts.tensor_bytes(model.joined()),
            "carried_bytes": accounts.tensor_bytes([model.adapter_state(), training.method.state_dict()])
            if training
            else 0,
            "training_calls": accounts.as_rows(trained),
            "evaluation_calls": accounts.as_rows(evaluated),
        }
        self.folder.update_run(steps=[*self.folder.read_run()["steps"], entry])

    def row(self, i: int) -> dict[str, float]:
        """Row i of the reward matrix."""
        row = matrix(pd.read_parquet(self.folder.step(i) / names.SCORES)).iloc[0]
        return {str(name): float(value) for name, value in row.items()}

    # -- calls -----------------------------------------------------------------------------------------------

    def count(self, training: Training) -> None:
        """Adds the calls since the last `take_calls` to the calls of a training."""
        training.calls += self.take_calls()

    def take_calls(self) -> Counter[Any]:
        """Returns the calls since the last `take_calls`, and clears the counter."""
        counter = self.materials.model.counter
        calls = Counter(counter)
        counter.clear()
        return calls


def updates_and_gain(training: Training) -> dict[str, Any]:
    """The updates of a step, and with criteria whether all are met and what each task gained, as run.json has them."""
    if (criterion := training.criterion) is None:
        return {"updates": training.update}
    return {
        "updates": training.update,
        "met": criterion.all_met,
        "gain": criterion.by_reward(criterion.gains),
    }


def off_calibration(row: Mapping[Any, float], calibration: Calibration, cpu: str | None) -> str | None:
    """The difference of row 0 from the calibration, in words; None if within the tolerance.

    Args:
        cpu: the processor of the run; None for a GPU.
    """
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
    """Writes the tables of the steps up to i: scores, matrix, and any scores between updates."""
    scores = _joined([folder.step(k) / names.SCORES for k in range(i + 1)])
    folder.write_parquet(names.SCORES, scores)
    folder.write_csv(names.MATRIX, matrix(scores))
    within = [file for k in range(1, i + 1) for file in sorted(folder.step(k).glob(names.SCORES_AFTER))]
    if within:
        folder.write_parquet(names.ANYTIME, _joined(within))


def _joined(files: list[Path]) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
