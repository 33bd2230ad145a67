"""The checks of a sequence and of a grid.

A check needs files. If a file is not on this machine, a note names it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ril_bench.conformance.suite import Check, CheckFailed, CheckResult, CheckSkipped, run_checks
from ril_bench.data.prompts import are_here, load_prompts
from ril_bench.remote.file import RemoteFile
from ril_bench.running.materials import Materials, new_tuner
from ril_bench.scoring.score import scale
from ril_bench.sequences.calibrations import load_calibration
from ril_bench.sequences.model_folders import local_folder
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.storage.files import expanded
from ril_bench.studies.grid.axes import axes, plans


def check_sequence(reference: str) -> Iterator[CheckResult]:
    """Yields the result of each check as it ends.

    Args:
        reference: a sequence's name or file.

    Raises UserError with all faults of the file's keys, values and names: then nothing else can be checked.
    """
    suite = _SequenceSuite(reference)
    yield from run_checks(suite.checks(), needed=())


def check_grid(reference: str) -> Iterator[CheckResult]:
    """Yields the result of the only check: every combination in a grid's file can be run."""

    def combinations() -> str:
        """has runs that can all be planned"""
        found = plans(axes(expanded(reference), {}))
        return f"{len(found)} runs"

    yield from run_checks([combinations], needed=())


class _SequenceSuite:
    def __init__(self, reference: str):
        self.reference = reference
        self.sequence = load_sequence(reference)
        self.missing: list[str] = []

    def checks(self) -> list[Check]:
        return [
            self.reads,
            self.has_prompts,
            self.has_rewards,
            self.has_tuners,
            self.is_calibrated,
            self.loads,
        ]

    def reads(self) -> str:
        """has valid keys, values and names"""
        return f"{self.sequence.name} version {self.sequence.version}: {' -> '.join(self.sequence.order)}"

    def has_prompts(self) -> str | None:
        """has enough prompts for training and evaluation"""
        wanted = self.sequence.evaluation.prompts
        found = {self.sequence.prompts.eval: wanted}
        found |= {task.prompts.train: 1 for task in self.sequence.tasks if task.prompts.train not in found}
        absent = [reference for reference in found if not are_here(reference)]
        for reference in found.keys() - set(absent):
            count = len(load_prompts(reference))
            if count < found[reference]:
                raise CheckFailed(
                    f"the evaluation asks for {wanted} prompts; {reference} has {count}",
                    f"set evaluation.prompts to at most {count}",
                )
        return self._note(f"prompts {reference}" for reference in absent)

    def has_rewards(self) -> str | None:
        """has rewards that can be loaded"""
        classes = {name: self.sequence.reward(name) for name in self.sequence.rewards}
        files = {file for cls in classes.values() for file in cls.weights}
        here = {f: f.cached_path() is not None if isinstance(f, RemoteFile) else f.exists() for f in files}
        return self._note(sorted(file.name for file in files if not here[file]))

    def has_tuners(self) -> None:
        """has tuners that can raise each task's reward, with valid options"""
        for i in range(1, len(self.sequence.tasks) + 1):
            new_tuner(self.sequence, i, self.sequence.reward(self.sequence.task(i).name))

    def is_calibrated(self) -> str | None:
        """has a calibration for this version and these settings, with gains above the noise, or none"""
        calibration = load_calibration(self.sequence)
        scale(calibration, self.sequence.order)
        if calibration and calibration.differs_from(self.sequence):
            raise CheckFailed(
                "the calibration was measured on other settings of this sequence",
                f"raise `version`, then: ril-bench calibrate {self.reference}",
            )
        rewards = calibration.rewards if calibration else {}
        if lacking := [name for name in self.sequence.order if name not in rewards]:
            return (
                f"no calibration for {', '.join(lacking)}: metrics are in standard deviations (z); "
                f"ril-bench calibrate {self.reference} measures a calibration"
            )
        return calibration.limits if calibration else None

    def loads(self) -> str | None:
        """loads: model, rewards, prompts, and each tuner on its task"""
        if local_folder(self.sequence.model) is None:
            self.missing.insert(0, f"the model {self.sequence.model}")
        if self.missing:
            raise CheckSkipped(
                f"these are not on this machine: {', '.join(self.missing)}; "
                f"ril-bench doctor {self.reference} lists the source of each file"
            )
        materials = Materials.load(self.sequence, torch.device("cpu"))
        materials.check_tuners()
        calibration = load_calibration(self.sequence)
        measured = calibration.made_with.get("weights") if calibration else None
        if changed := sorted(
            k for k, sha in materials.weights.items() if measured and measured.get(k, sha) != sha
        ):
            raise CheckFailed(
                f"the calibration was measured with other weights: {', '.join(changed)}",
                f"ril-bench calibrate {self.reference}",
            )
        return f"{len(materials.weights)} weight files; {len(materials.eval_prompts)} evaluation prompts"

    def _note(self, absent: Iterator[str] | list[str]) -> str | None:
        """Remembers missing files, and returns a note that names them."""
        names = list(absent)
        self.missing += names
        return f"not on this machine: {', '.join(names)}" if names else None
