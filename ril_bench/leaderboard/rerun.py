"""Trains an entry again, and compares the adapters with those of the entry.

This runs code of a method: a method that ships, or a file that a maintainer names. It never runs a file because an
entry holds it.

Training enlarges rounding. On the processor and torch of the entry, an adapter that differs is a fault. On others it is
none, and no evidence either: a run's criterion may end a task one measurement later, and the paths part.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from ril_bench.errors import UserError
from ril_bench.leaderboard.adapter_files import distance, halved
from ril_bench.leaderboard.entry import Entry
from ril_bench.leaderboard.levels import TOLERANCE, Retrained
from ril_bench.leaderboard.method_names import shipped_digest
from ril_bench.running import provenance
from ril_bench.running.plan import plan_run
from ril_bench.running.progress import Reporter
from ril_bench.running.runner import Runner
from ril_bench.storage import names
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.read import read_run

SHIPPED = "shipped"


class Retrainer:
    """Trains entries again, on the CPU with the number of threads that the run names.

    Args:
        method: the method's file, which must be that of the entries; None for methods that ship.
        steps: the steps to train, from 1; None for all. A step needs the steps before it, so all up to the last one are
            trained.
    """

    def __init__(self, method: Path | None, steps: Collection[int] | None = None):
        self.method, self.steps = method, steps

    def takes(self, entry: Entry) -> bool:
        """Whether the entry is of the method that is trained again."""
        return self._owner(entry) == entry.run.method.file_sha256

    def _owner(self, entry: Entry) -> str | None:
        return sha256_file(self.method) if self.method else shipped_digest(entry.run.method.name) or ""

    def __call__(self, entry: Entry) -> tuple[Retrained, list[UserError]]:
        """What was trained again; on the entry's kind of machine also a fault for each adapter that differs too much.

        Raises UserError where the entry is of another method, or lacks an adapter.
        """
        tasks = len(entry.sequence.order)
        steps = sorted(set(self.steps or range(1, tasks + 1)))
        if wrong := [step for step in steps if not 1 <= step <= tasks]:
            raise UserError(
                f"there is no step {wrong[0]}", where="--steps", hint=f"the steps of {entry} are 1 to {tasks}"
            )
        if missing := [step for step in steps if step not in entry.adapters]:
            raise UserError(
                f"no adapter of step {missing[0]} to compare with",
                where=str(entry.folder),
                hint="submit the adapter of every step",
            )
        if not self.takes(entry):
            raise UserError(
                f"{entry.run.method.name} was computed with another file",
                where=str(self.method or entry.file(names.RUN)),
                hint="name the file of the runs: --rerun METHOD.py; or shipped, for methods that ship",
            )
        with TemporaryDirectory() as folder:
            run = self._trained(entry, Path(folder), max(steps))
            resolved = read_run(run).info["method"]["resolved"]
            apart = {step: _apart(run / names.adapter(step), entry.adapters[step]) for step in steps}
        made_on = _made_on(entry)
        faults = [
            UserError(
                f"training again gives another adapter: step {step} is {gap:.2g} of its norm away, and "
                f"{TOLERANCE:g} is allowed",
                where=str(entry.adapters[step]),
                hint="submit what the method's own file gives, with the seed and the settings that the entry states",
            )
            for step, gap in apart.items()
            if made_on is None and not gap <= TOLERANCE
        ]
        if resolved != entry.raw["method"]["resolved"]:
            faults.append(
                UserError(
                    "the options do not give the values written out",
                    where=str(entry.file(names.RUN)),
                    hint="submit run.json as the run wrote it",
                )
            )
        return Retrained(tuple(steps), tasks, max(apart.values()), made_on), faults

    def _trained(self, entry: Entry, folder: Path, last: int) -> Path:
        """The folder of the run, trained up to a step."""
        record = entry.run
        reference = record.method.name
        if self.method:
            file = self.method.absolute()
            if file.stem != record.method.name:  # the file's name is the method's
                file = Path(shutil.copy(file, folder / f"{record.method.name}.py"))
            reference = str(file)
        plan = plan_run(
            entry.address.group.sequence,
            reference,
            seed=entry.address.seed,
            tuner=entry.address.group.tuner,
            settings={f"method.{name}": value for name, value in record.method.options.items()},
            label=record.method.label,
            order=entry.address.group.order,
        )
        threads = min(max(record.hardware.threads, 1), os.cpu_count() or 1)
        return Runner(
            plan, folder / "runs", threads=threads, account=False, last=last, reporter=Reporter(quiet=True)
        ).execute()


def _made_on(entry: Entry) -> str | None:
    """What the entry names of its machine, if this one is of another kind; None if they are alike."""
    theirs = (entry.run.hardware.cpu, entry.run.versions.get("torch", "unknown"))
    own = (provenance.processor(), version("torch"))
    return None if theirs == own else f"{theirs[0]} with torch {theirs[1]}"


def _apart(fresh: Path, stored: Path) -> float:
    """The relative difference of two adapters; 0 where the fresh one gives the same bytes."""
    data = stored.read_bytes()
    return 0.0 if data in (halved(fresh.read_bytes()), fresh.read_bytes()) else distance(fresh, stored)
