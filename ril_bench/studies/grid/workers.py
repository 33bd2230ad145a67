"""Runs side by side, each in a process with pinned threads; a failure of one run does not affect the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from ril_bench.errors import (
    InfrastructureError,
    Kind,
    NumericalError,
    OutOfMemoryError,
    RilError,
    UserError,
    failure_class,
)
from ril_bench.machine.compute import Compute
from ril_bench.running.plan import RunPlan
from ril_bench.running.progress import Reporter
from ril_bench.storage.run_folder import RunFolder

_SPAWN = multiprocessing.get_context(
    "spawn"
)  # a fork would share torch's threads, and CUDA does not survive it


@dataclass(frozen=True)
class Cell:
    """One run of a grid. Cells of one group begin with the same tasks and run one after another, so that the others
    can reuse the steps of the first one.
    """

    plan: RunPlan
    shared: tuple[int, ...] = ()  # the steps that another cell begins with too
    group: str = ""


@dataclass(frozen=True)
class Failure:
    """Why a run stopped: the kind of failure (user, numerical, memory, infrastructure) and its message."""

    kind: Kind
    message: str

    def error(self, where: str) -> RilError:
        """The same as an exception."""
        classes = {
            cls.kind: cls for cls in (UserError, NumericalError, OutOfMemoryError, InfrastructureError)
        }
        return classes[self.kind](self.message, where=where)


@dataclass(frozen=True)
class Machine:
    """The part of this machine that each run gets."""

    threads: int  # pinned
    device: str
    compute: Compute | None = None


def side_by_side(
    cells: Sequence[Cell],
    out: Path,
    *,
    jobs: int,
    machine: Machine,
) -> Iterator[tuple[Cell, Failure | None]]:
    """Runs every cell, `jobs` at a time, and yields each cell when it ends, with its failure if it has one.

    The processes end when this process ends, for whatever reason, and when the iterator is closed. A run that was
    stopped continues from its checkpoint the next time. A process that dies fails its own cell alone.
    """
    waiting, lanes = list(cells), [_Lane(machine) for _ in range(min(jobs, len(cells)))]
    try:
        while waiting or any(lane.cell for lane in lanes):
            for lane in lanes:
                if lane.cell is None and (cell := ready(waiting, [each.cell for each in lanes if each.cell])):
                    waiting.remove(cell)
                    lane.begin(cell, out)
            ended = wait([handle for lane in lanes if lane.cell for handle in lane.handles])
            for k, lane in enumerate(lanes):
                if lane.cell and any(handle in ended for handle in lane.handles):
                    cell, failure = lane.cell, lane.end(out)
                    if not lane.alive:
                        lanes[k] = _Lane(machine)
                    yield cell, failure
    finally:
        for lane in lanes:
            lane.stop()


def ready(waiting: Sequence[Cell], at_work: Collection[Cell]) -> Cell | None:
    """The next cell of which no other cell of the group is running; None while there is none."""
    busy = {cell.group for cell in at_work if cell.group}
    return next((cell for cell in waiting if cell.group not in busy), None)


def make(cell: Cell, out: Path, machine: Machine) -> Failure | None:
    """Runs a cell in this process. Returns the failure that stopped it, None where the run is complete."""
    from ril_bench.reporting import write_page_after_run
    from ril_bench.running.runner import Runner

    try:
        folder = Runner(
            cell.plan,
            out,
            device=machine.device,
            threads=machine.threads,
            compute=machine.compute,
            shared=cell.shared,
            account=False,
            reporter=Reporter(quiet=True),
        ).execute()
        write_page_after_run(folder)
    except Exception as error:
        return Failure(failure_class(error), str(error) or repr(error))
    return None


def run_all(
    plans: Sequence[RunPlan],
    out: Path,
    *,
    jobs: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    compute: Compute | None = None,
    reporter: Reporter,
) -> None:
    """Makes every run that is not complete. Raises the first failure; use it where all runs are needed.

    Args:
        jobs: runs side by side; None for as many as the cores allow at `threads` each, one on a GPU.
        threads: of each run, pinned: on a small model two runs with one thread each beat one with two.
    """
    jobs = jobs or jobs_that_fit(threads, device)
    left = [Cell(plan) for plan in plans if not plan.is_complete(RunFolder(plan.folder(out)))]
    reporter.advance(len(plans) - len(left))
    for cell, failure in side_by_side(left, out, jobs=jobs, machine=Machine(threads, device, compute)):
        if failure:
            raise failure.error(where=str(cell.plan.folder(out)))
        reporter.advance(note=str(cell.plan.folder(Path())))


def jobs_that_fit(threads: int, device: str) -> int:
    """How many runs this machine makes side by side: its cores at `threads` each, one on a GPU."""
    return max(1, (os.cpu_count() or 1) // threads) if device == "cpu" else 1


class _Lane:
    """A process that runs one cell after another, so that its libraries are loaded once."""

    def __init__(self, machine: Machine):
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(theirs, machine), daemon=True)
        self._process.start()
        theirs.close()
        self.cell: Cell | None = None

    @property
    def handles(self) -> list[Connection | int]:
        """The handles that become ready when the cell has ended or its process has died."""
        return [self._pipe, self._process.sentinel]

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def begin(self, cell: Cell, out: Path) -> None:
        self.cell = cell
        self._pipe.send((cell, out))

    def end(self, out: Path) -> Failure | None:
        """The cell's failure, None where it is complete. For a process that died, this also writes run.json."""
        assert self.cell is not None
        cell, self.cell = self.cell, None
        try:
            failure: Failure | None = self._pipe.recv()
        except EOFError:
            self._process.join()
            failure = Failure("infrastructure", f"its process died{_why(self._process.exitcode)}")
            folder = RunFolder(cell.plan.folder(out))
            if folder.exists:
                folder.update_run(
                    status="failed", failure={"class": failure.kind, "message": failure.message}
                )
        return failure

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


def _work(pipe: Connection, machine: Machine) -> None:
    """The loop of a lane's process; it ends when the process is stopped."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    _end_with_the_parent()
    os.environ["OMP_NUM_THREADS"] = str(machine.threads)  # before torch is imported
    while True:
        cell, out = pipe.recv()
        pipe.send(make(cell, out, machine))


def _end_with_the_parent() -> None:
    """Ends this process when its parent ends: a parent that is killed cannot stop its children."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _why(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return ", killed by the system or a user; the usual cause is too little memory"
    return f" of signal {-code}" if code is not None and code < 0 else f" with exit code {code}"
