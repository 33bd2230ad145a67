"""The cells of a grid on a Ray cluster: the next free node runs the next cell, in storage that all nodes share.

If a node is lost, its runs lose only the updates since their last checkpoints: Ray gives the cell to another node,
which continues in the same folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ril_bench.errors import InfrastructureError, UserError
from ril_bench.machine.devices import named_device
from ril_bench.storage.run_folder import RunFolder
from ril_bench.studies.grid.workers import Cell, Failure, Machine, make, ready

RETRIES = 3  # of a cell whose node or process was lost
PATIENCE = 60.0  # seconds until a process that lost its node has released its run
HANDED_ON = (
    "RIL_BENCH_CACHE",
    "HF_HOME",
    "HF_HUB_OFFLINE",
)  # variables that a node's own environment may lack


def on_ray(
    cells: Sequence[Cell], out: Path, *, jobs: int | None, machine: Machine, gpus: float
) -> Iterator[tuple[Cell, Failure | None]]:
    """Makes every run on the cluster that RAY_ADDRESS names, or else on one of this machine alone; gives each cell as
    it ends, with its failure if it has one.

    Args:
        out: on storage that every node has under the same path, as are files that the grid names.
        jobs: the largest number of runs at once; None for as many as the cluster holds.
        machine: what a run takes of its node, and `gpus`; a run may have a part of a GPU.

    Raises:
        UserError: Ray is not installed.
        InfrastructureError: the cluster does not answer.
    """
    ray = _connected()
    remote = ray.remote(_make).options(num_cpus=machine.threads, num_gpus=gpus, max_retries=RETRIES)
    environment = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    waiting, at_work = list(cells), dict[Any, Cell]()
    while waiting or at_work:
        while len(at_work) < (jobs or len(cells)) and (cell := ready(waiting, at_work.values())):
            waiting.remove(cell)
            at_work[remote.remote(cell, out.absolute(), machine, Path.cwd(), environment)] = cell
        (done,), _ = ray.wait(list(at_work))
        cell = at_work.pop(done)
        try:
            failure: Failure | None = ray.get(done)
        except ray.exceptions.RayError as error:
            failure = Failure("infrastructure", f"its node or process was lost: {error}")
        yield cell, failure


def _connected() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "Ray is not installed", where="--engine ray", hint="pip install 'ril-bench[ray]'"
        ) from error
    try:
        ray.init(
            ignore_reinit_error=True, include_dashboard=False, log_to_driver=False, logging_level="error"
        )
    except (ConnectionError, RuntimeError) as error:
        raise InfrastructureError(
            f"the Ray cluster does not answer: {error}",
            where=os.environ.get("RAY_ADDRESS", "this machine"),
            hint="ray start --head on the first node, RAY_ADDRESS=auto here",
        ) from error
    return ray


def _make(
    cell: Cell, out: Path, machine: Machine, folder: Path, environment: Mapping[str, str]
) -> Failure | None:
    """A cell's run on a node, with the folder and the environment of the process that started the grid."""
    os.environ |= {**environment, "OMP_NUM_THREADS": str(machine.threads)}  # before torch is imported
    if not folder.is_dir():
        return Failure(
            "infrastructure", f"this node has no {folder}: a grid needs storage that all nodes share"
        )
    os.chdir(folder)
    held, began = RunFolder(cell.plan.folder(out)), time.monotonic()
    while held.is_locked and time.monotonic() - began < PATIENCE:
        time.sleep(1.0)
    return make(cell, out, replace(machine, device=named_device(machine.device)))
