"""Runs side by side: each in a process with pinned threads, where no failure of one touches another."""

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
    """A run to be made. Cells of one group begin with the same tasks: they take turns, so that the first one's
    work serves the others.
    """

    plan: RunPlan
    shared: tuple[int, ...] = ()  # the steps that another cell begins with too
    group: str = ""


@dataclass(frozen=True)
class Failure:
    """Why a run stopped: its class (user, numerical, memory, infrastructure) and what it said."""

    kind: Kind
    message: str

    def error(self, where: str) -> RilError:
        """The same as an exception, for those who cannot go on without the run."""
        classes = {
            cls.kind: cls for cls in (UserError, NumericalError, OutOfMemoryError, InfrastructureError)
        }
        return classes[self.kind](self.message, where=where)


@dataclass(frozen=True)
class Machine:
    """What each run gets of this machine."""

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
    """Makes every run, `jobs` at a time, and gives each cell as it ends, with its failure if it has one.

    Processes end with this one, however it ends, and when the iterator is closed; runs go on from their checkpoints
    when they are asked for again. A process that dies takes its own cell with it and no other.
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
    """The next cell whose group is not at work; None while there is none."""
    busy = {cell.group for cell in at_work if cell.group}
    return next((cell for cell in waiting if cell.group not in busy), None)


def make(cell: Cell, out: Path, machine: Machine) -> Failure | None:
    """A cell's run, made in this process; whatever stops it is returned."""
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
    """A process that makes one run after another, so that its libraries are loaded once."""

    def __init__(self, machine: Machine):
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(theirs, machine), daemon=True)
        self._process.start()
        theirs.close()
        self.cell: Cell | None = None

    @property
    def handles(self) -> list[Connection | int]:
        """What is ready when the cell has ended, one way or another."""
        return [self._pipe, self._process.sentinel]

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def begin(self, cell: Cell, out: Path) -> None:
        self.cell = cell
        self._pipe.send((cell, out))

    def end(self, out: Path) -> Failure | None:
        """How the cell ended; a process that died could not say so in run.json, so it is said here."""
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
    """What a lane's process does until it is stopped."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    _end_with_the_parent()
    os.environ["OMP_NUM_THREADS"] = str(machine.threads)  # before torch is imported
    while True:
        cell, out = pipe.recv()
        pipe.send(make(cell, out, machine))


def _end_with_the_parent() -> None:
    """A parent that is killed cannot stop its processes: each waits for its end, and ends too."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _why(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return ", killed by the system or by somebody: most often there was not enough memory"
    return f" of signal {-code}" if code is not None and code < 0 else f" with exit code {code}"
