"""Runs the cells of a grid on a Ray cluster, with storage that all nodes share.

A free node executes the next cell. If a node is lost, Ray gives its cell to another node, which resumes in
the same folder. The run then repeats only the updates since its last checkpoint.
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
PATIENCE = 60.0  # seconds to wait until a process on a lost node releases the lock of its run
#: environment variables that are copied to the nodes
HANDED_ON = ("RIL_BENCH_CACHE", "HF_HOME", "HF_HUB_OFFLINE")


def on_ray(
    cells: Sequence[Cell], out: Path, *, jobs: int | None, machine: Machine, gpus: float | None
) -> Iterator[tuple[Cell, Failure | None]]:
    """Executes every run on a Ray cluster. Yields each cell as it ends, with any failure.

    Uses the cluster that RAY_ADDRESS names, or else starts a cluster on this machine.

    Args:
        out: a folder on storage that every node has under the same path. The files that the grid names must
            also be on such storage.
        jobs: the largest number of runs at the same time; None for as many as the cluster holds.
        machine: the threads and the device of each run.
        gpus: the GPUs of each run, which may be a part of a GPU; None for one GPU if the device is a GPU. With the
            device "auto" it is one if the cluster has any.

    Raises:
        UserError: Ray is not installed.
        InfrastructureError: the cluster does not answer.
    """
    ray = _connected()
    if gpus is None:
        # Ray hides every GPU from a run that asks for none, so "auto" is decided here and not on the node.
        on_gpu = "GPU" in ray.cluster_resources() if machine.device == "auto" else machine.device != "cpu"
        gpus = float(on_gpu)
    remote = ray.remote(_execute).options(num_cpus=machine.threads, num_gpus=gpus, max_retries=RETRIES)
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
            failure = Failure("infrastructure", f"the node or the process of the run was lost: {error}")
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
            hint="run `ray start --head` on the first node, and set RAY_ADDRESS=auto here",
        ) from error
    return ray


def _execute(
    cell: Cell, out: Path, machine: Machine, folder: Path, environment: Mapping[str, str]
) -> Failure | None:
    """Executes a cell's run on a node, in the folder and environment of the grid's command."""
    os.environ |= {**environment, "OMP_NUM_THREADS": str(machine.threads)}  # before torch is imported
    if not folder.is_dir():
        return Failure(
            "infrastructure",
            f"this node has no folder {folder}: a grid needs storage that all nodes share",
        )
    os.chdir(folder)
    run, began = RunFolder(cell.plan.folder(out)), time.monotonic()
    while run.is_locked and time.monotonic() - began < PATIENCE:
        time.sleep(1.0)
    return make(cell, out, replace(machine, device=named_device(machine.device)))
