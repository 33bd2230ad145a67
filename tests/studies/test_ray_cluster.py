"""Grids on a Ray cluster on this machine.

They give the same bytes as without a cluster. If a node is lost, no complete run is lost.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

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


def test_a_part_of_a_gpu_needs_ray(tiny_sequence, tmp_path):
    with pytest.raises(UserError) as caught:
        grid(axes(None, {"sequences": [tiny_sequence], "methods": ["naive"]}), tmp_path, gpus=0.5)
    assert (caught.value.where, caught.value.hint) == ("--gpus", "add --engine ray")


def complete(out: Path) -> list[Path]:
    """The files of the scores of complete runs."""
    found = [RunFolder(file.parent) for file in out.rglob("run.json")]
    return [folder.path / "scores.parquet" for folder in found if folder.read_run()["status"] == "complete"]
