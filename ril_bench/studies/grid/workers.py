"""Runs many runs at the same time, each in a process with a fixed number of threads.

The failure of one run does not affect the others.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from ril_bench.config.counts import THREADS, count
from ril_bench.errors import Kind, RilError, error_of, failure_class, message_of
from ril_bench.machine.compute import Compute
from ril_bench.running.plan import RunPlan
from ril_bench.running.progress import Reporter
from ril_bench.storage.run_folder import RunFolder

# Not forked: a forked process would share the threads of torch, and CUDA does not work after a fork.
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Cell:
    """A run of a grid.

    Cells of one group begin with the same tasks. They run one after another, so that later cells can use the
    steps of the first cell.
    """

    plan: RunPlan
    shared: tuple[int, ...] = ()  # the steps that another cell has in common with this cell
    group: str = ""


@dataclass(frozen=True)
class Failure:
    """The failure of a run: its kind, as errors have it, and its message."""

    kind: Kind
    message: str

    def error(self, where: str) -> RilError:
        """The failure as an exception, for callers that need the run."""
        return error_of(self.kind, self.message, where)


@dataclass(frozen=True)
class Machine:
    """The part of this machine that each run uses."""

    threads: int  # the fixed number of threads
    device: str
    compute: Compute | None = None


def side_by_side(
    cells: Sequence[Cell],
    out: Path,
    *,
    jobs: int,
    machine: Machine,
) -> Iterator[tuple[Cell, Failure | None]]:
    """Executes all runs, `jobs` at a time. Yields each cell as it ends, with any failure.

    The processes end when this process ends or is killed, and when the iterator is closed. The same call then
    resumes the runs from their checkpoints. If a process dies, only its own cell fails.
    """
    waiting, lanes = list(cells), [_Lane(machine) for _ in range(min(jobs, len(cells)))]
    try:
        while waiting or any(lane.cell for lane in lanes):
            for lane in lanes:
                at_work = [busy.cell for busy in lanes if busy.cell]
                if lane.cell is None and (cell := ready(waiting, at_work)):
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
    """The next cell whose group has no cell at work; None if there is no such cell."""
    busy = {cell.group for cell in at_work if cell.group}
    return next((cell for cell in waiting if cell.group not in busy), None)


def make(cell: Cell, out: Path, machine: Machine) -> Failure | None:
    """Executes the run of a cell in this process. Returns its failure, None if it is complete."""
    from ril_bench.reporting.run_page import write_page_after_run
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
        return Failure(failure_class(error), message_of(error))
    return None


def jobs_that_fit(threads: int, device: str) -> int:
    """The number of runs at the same time: cores divided by `threads`, or one on a GPU."""
    threads = count(threads, "threads", least=1, most=THREADS)
    return max(1, (os.cpu_count() or 1) // threads) if device == "cpu" else 1


class _Lane:
    """A process that executes one run after another, so that libraries are loaded only once."""

    def __init__(self, machine: Machine):
        self._pipe, child_pipe = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(child_pipe, machine), daemon=True)
        self._process.start()
        child_pipe.close()
        self.cell: Cell | None = None

    @property
    def handles(self) -> list[Connection | int]:
        """The handles that `wait` reports when the cell has ended, or when its process has died."""
        return [self._pipe, self._process.sentinel]

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def begin(self, cell: Cell, out: Path) -> None:
        self.cell = cell
        with suppress(OSError):  # the process has died, as `end` finds
            self._pipe.send((cell, out))

    def end(self, out: Path) -> Failure | None:
        """The failure of the cell that has ended, None if its run is complete.

        A process that died could not write its failure to run.json, so this method writes it.
        """
        assert self.cell is not None
        cell, self.cell = self.cell, None
        try:
            failure: Failure | None = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            failure = Failure("infrastructure", f"the process of the run died{_why(self._process.exitcode)}")
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
    """The loop of a lane's process, until it is stopped."""
    # Ctrl-C is sent to all processes of the terminal. Only the parent reacts to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_the_parent()
    os.environ["OMP_NUM_THREADS"] = str(machine.threads)  # before torch is imported
    while True:
        cell, out = pipe.recv()
        pipe.send(make(cell, out, machine))


def _end_with_the_parent() -> None:
    """Starts a thread that ends this process when its parent ends.

    A parent that is killed cannot stop its processes.
    """
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _why(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return ", killed by the system or a user; the usual cause is too little memory"
    if code is not None and code < 0:
        return f" from signal {-code}"
    script = '; a script must call ril_bench under `if __name__ == "__main__":`' if code == 1 else ""
    return f" with exit code {code}{script}"
