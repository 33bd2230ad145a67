"""Where a run's time goes, on a quiet machine: pytest tests/benchmarks --benchmark-enable

The ratios to bare cost (design: <= 1.1 for training, <= 1.3 for a whole run) are in the `extra_info` of their
benchmarks; --benchmark-json=FILE keeps them.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import ril_bench
from ril_bench import registry
from ril_bench.config.settings import parse_settings
from ril_bench.methods import Method
from ril_bench.running.bare_cost import Call, bare_seconds, one_call, unit_seconds
from ril_bench.running.materials import Materials
from ril_bench.running.new_training import new_training
from ril_bench.running.training import Training
from ril_bench.running.units import Units
from ril_bench.sequences.sequence_file import load_sequence

PAIRS = 8  # images of an update; guided, so the denoiser sees 16


@pytest.fixture
def materials() -> Materials:
    return Materials.load(load_sequence("shapes-ril"), torch.device("cpu"))


@pytest.fixture
def adapted(materials: Materials) -> Materials:
    materials.model.add_adapter("adapter", seed_key=(0,))
    materials.model.activate({"adapter": 1.0}, train=["adapter"])
    return materials


@pytest.mark.parametrize(
    "call",
    [
        ("denoiser", False, 2 * PAIRS),
        ("denoiser", True, 2 * PAIRS),
        ("decode", True, PAIRS),
        ("reward:aesthetic", True, PAIRS),
        ("reward:preference", True, PAIRS),
        ("reward:compressibility", True, PAIRS),
    ],
    ids=lambda call: f"{call[0]}{'-with-gradient' if call[1] else ''}",
)
def test_one_call(benchmark: BenchmarkFixture, adapted: Materials, call: Call) -> None:
    kind, graded, batch = call
    one = one_call(kind, graded, batch, adapted.model, adapted.rewards, adapted.eval_prompts)

    def forward_and_backward() -> None:
        with torch.set_grad_enabled(graded):
            out = one()
            if out.requires_grad:
                out.sum().backward()

    benchmark(forward_and_backward)


def test_folding(benchmark: BenchmarkFixture, adapted: Materials) -> None:
    def fold() -> None:
        with adapted.model.folded():
            pass

    benchmark(fold)


def second_task(materials: Materials, method: Method, updates: int) -> Training:
    """The training of task 2 at its start, when a method has task 1 to protect."""
    method.bind(materials.model)
    units = Units(materials)
    first, second = (units.task(i, step=i, seed=0) for i in (1, 2))
    method.start_task(first, materials.model)
    method.end_task(first, materials.model)
    method.start_task(second, materials.model)
    training = new_training(2, materials, method, units, seed=0, micro_batch=0)
    training.updates = updates
    return training


def against_bare_cost(benchmark: BenchmarkFixture, materials: Materials, method: str, updates: int) -> None:
    """Measures the calls of each update of task 2 directly after it.

    So a slow minute of the machine slows both.
    """
    training = second_task(materials, registry.load("method", method)(), updates)
    seconds, bare = [], []

    def measure(line: dict[str, Any]) -> None:
        calls = Counter(materials.model.counter)
        units = unit_seconds(
            list(calls), materials.model, materials.rewards, materials.eval_prompts, rounds=1
        )
        seconds.append(line["seconds"])
        bare.append(bare_seconds(calls, units))
        materials.model.counter.clear()

    materials.model.counter.clear()
    benchmark.pedantic(training.run, args=(measure,), rounds=1, iterations=1)
    # libraries initialise in the first update, so it is left out
    benchmark.extra_info["training_ratio"] = sum(seconds[1:]) / sum(bare[1:])


@pytest.mark.parametrize("method", ["naive", "rid"])
@pytest.mark.parametrize("sequence", ["shapes-ril", "shapes-flow-ril"])
def test_updates_against_their_bare_cost(benchmark: BenchmarkFixture, sequence: str, method: str) -> None:
    materials = Materials.load(load_sequence(sequence), torch.device("cpu"))
    against_bare_cost(benchmark, materials, method, updates=12)


TUNERS = {
    "draft": "name: draft, k: 1",
    "draft-full": "name: draft, k: full",
    "draft-lv": "name: draft, copies: 2",
    "alignprop": "name: alignprop",
    "refl": "name: refl",
    "drtune": "name: drtune, k: 3",
    "sft": "name: sft",
    "sft-images": "name: sft, images: shapes/preference",
    "dpo": "name: dpo",
    "spin": "name: spin, images: shapes/preference",
    "drtune-flowbp": "name: drtune, k: 3, m: 0, spread: late, bridge: 0.5",
    "ddpo": "name: ddpo, samples: 2",
    "ddpo-grpo": "name: ddpo, samples: 2, std: batch, kl: 0.04",
    "nft": "name: nft, samples: 2",
    "crd": "name: crd, samples: 2",
    "adjoint_matching": "name: adjoint_matching",
    "nabla_gflownet": "name: nabla_gflownet",
    "nabla_gflownet-no-flow": "name: nabla_gflownet, flow: false",
}


@pytest.mark.parametrize("tuner", TUNERS)
def test_a_tuners_updates_against_their_bare_cost(benchmark: BenchmarkFixture, tuner: str) -> None:
    """The bound is 1.15. Bare cost does not include a tuner's network (nabla_gflownet's flow)."""
    sequence = load_sequence("shapes-ril", parse_settings([f"tuner={{{TUNERS[tuner]}}}"]))
    materials = Materials.load(sequence, torch.device("cpu"))
    against_bare_cost(benchmark, materials, "naive", updates=5)


@pytest.mark.parametrize("method", ["naive", "rid"])
def test_a_run_against_its_bare_cost(benchmark: BenchmarkFixture, tmp_path: Path, method: str) -> None:
    """A shortened run; its run.json has the multiple of bare cost."""

    def run() -> ril_bench.Run:
        return ril_bench.run(
            "shapes-ril", method=method, out=tmp_path, settings=["budget.updates=10"], quiet=True
        )

    result = benchmark.pedantic(run, rounds=1, iterations=1)
    benchmark.extra_info.update(result.info["cost"])


def test_measuring_the_bare_cost(benchmark: BenchmarkFixture, adapted: Materials) -> None:
    """The time of this measurement, which is not part of a run's time."""
    calls: list[Call] = [("denoiser", False, 2 * PAIRS), ("decode", False, PAIRS)]
    benchmark.pedantic(
        unit_seconds,
        (calls, adapted.model, adapted.rewards, adapted.eval_prompts),
        rounds=1,
        iterations=1,
    )
