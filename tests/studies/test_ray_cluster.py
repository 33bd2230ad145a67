"""Grids on a Ray cluster on this machine.

They give the same bytes as without a cluster. If a node is lost, no complete run is lost.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ril_bench.errors import UserError
from ril_bench.running.progress import Reporter
from ril_bench.storage.run_folder import RunFolder
from ril_bench.studies.grid.axes import axes
from ril_bench.studies.grid.grid import grid
from tests.studies.small_grid import everything, small

QUIET = Reporter(quiet=True)


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of two nodes with one core each; the driver is on neither of them."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    ray_cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [ray_cluster.add_node(num_cpus=1) for _ in range(2)]
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster.address)
    yield ray_cluster, nodes
    ray.shutdown()
    ray_cluster.shutdown()


def test_two_nodes_give_the_same_bytes_as_one_process(cluster, tiny_sequence, tmp_path, monkeypatch):
    spec = small(tiny_sequence, seeds=[0])
    for name, engine in (("here", "local"), ("there", "ray")):
        monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / f"cache-{name}"))
        ended = grid(
            spec, tmp_path / name, jobs=None if engine == "ray" else 1, engine=engine, reporter=QUIET
        )
        assert [outcome.failure for outcome in ended] == [None] * 4
    assert everything(tmp_path / "there") == everything(tmp_path / "here")


def test_a_lost_node_loses_no_finished_run(cluster, tiny_sequence, tmp_path, monkeypatch):
    ray_cluster, nodes = cluster
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))
    out, kept = tmp_path / "out", {}
    spec = small(tiny_sequence, methods=["naive", "lora_per_task"], orders=["given"], seeds=[0, 1, 2])

    def lose() -> None:
        """Removes a node as soon as a run is complete."""
        while not kept:
            time.sleep(0.05)
            kept.update({file: file.stat().st_mtime_ns for file in complete(out)})
        ray_cluster.remove_node(nodes[1], allow_graceful=False)

    loss = threading.Thread(target=lose)
    loss.start()
    ended = grid(spec, out, engine="ray", reporter=QUIET)
    loss.join()
    assert [outcome.failure for outcome in ended] == [None] * 6
    assert len(complete(out)) == 6
    assert kept == {file: file.stat().st_mtime_ns for file in kept}
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "other"))
    grid(spec, tmp_path / "here", jobs=1, reporter=QUIET)
    assert everything(out) == everything(tmp_path / "here")


class Listening:
    """A Ray that has these resources, runs each task at once, and notes the options of tasks."""

    exceptions = SimpleNamespace(RayError=RuntimeError)

    def __init__(self, **resources: float):
        self.resources, self.options = resources, {}

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, function: Any) -> Any:
        def with_options(**options: Any) -> Any:
            self.options = options
            return SimpleNamespace(remote=lambda *arguments: object())

        return SimpleNamespace(options=with_options)

    def wait(self, tasks: list[Any]) -> tuple[list[Any], list[Any]]:
        return tasks[:1], tasks[1:]

    def get(self, task: Any) -> None:
        return None


@pytest.mark.parametrize(
    ("device", "given", "resources", "gpus"),
    [
        ("auto", None, {"GPU": 8.0}, 1.0),
        ("auto", None, {}, 0.0),
        ("cuda", None, {"GPU": 1.0}, 1.0),
        ("cpu", None, {"GPU": 1.0}, 0.0),
        ("auto", 0.5, {"GPU": 1.0}, 0.5),
    ],
)
def test_a_run_asks_for_the_gpu_that_it_uses(
    tiny_sequence, tmp_path, monkeypatch, device, given, resources, gpus
):
    """Ray shows a run only the GPUs that it asks for."""
    ray = Listening(CPU=2.0, **resources)
    monkeypatch.setattr("ril_bench.studies.grid.ray_cluster._connected", lambda: ray)
    spec = axes(None, {"sequences": [tiny_sequence], "methods": ["naive"]})
    grid(spec, tmp_path, device=device, engine="ray", gpus=given, reporter=QUIET)
    assert ray.options["num_gpus"] == gpus


def test_a_part_of_a_gpu_needs_ray(tiny_sequence, tmp_path):
    with pytest.raises(UserError) as caught:
        grid(axes(None, {"sequences": [tiny_sequence], "methods": ["naive"]}), tmp_path, gpus=0.5)
    assert (caught.value.where, caught.value.hint) == ("--gpus", "add --engine ray")


def complete(out: Path) -> list[Path]:
    """The files of the scores of complete runs."""
    found = [RunFolder(file.parent) for file in out.rglob("run.json")]
    return [folder.path / "scores.parquet" for folder in found if folder.read_run()["status"] == "complete"]
