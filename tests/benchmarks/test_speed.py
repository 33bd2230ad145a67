"""Where a run's time goes, on a quiet machine: pytest tests/benchmarks --benchmark-enable

The ratios to bare cost (design: <= 1.1 for training, <= 1.3 for a whole run) are in `extra_info` of the last two.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import ril_bench
from ril_bench.cost import Call, one_call, unit_seconds
from ril_bench.materials import Materials
from ril_bench.spec import load_sequence

PAIRS = 8  # pictures of an update; guided, so the denoiser sees 16


@pytest.fixture(scope="module")
def materials() -> Materials:
    made = Materials.load(load_sequence("shapes-ril"), torch.device("cpu"))
    made.model.add_adapter("adapter", seed_key=(0,))
    made.model.activate({"adapter": 1.0}, train=["adapter"])
    return made


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
def test_one_call(benchmark: BenchmarkFixture, materials: Materials, call: Call) -> None:
    kind, graded, batch = call
    one = one_call(kind, graded, batch, materials.model, materials.rewards, materials.eval_prompts)

    def forward_and_backward() -> None:
        with torch.set_grad_enabled(graded):
            out = one()
            if out.requires_grad:
                out.sum().backward()

    benchmark(forward_and_backward)


def test_folding(benchmark: BenchmarkFixture, materials: Materials) -> None:
    def fold() -> None:
        with materials.model.folded():
            pass

    benchmark(fold)


@pytest.mark.parametrize("method", ["naive", "rid"])
def test_a_run_against_its_bare_cost(benchmark: BenchmarkFixture, tmp_path: Path, method: str) -> None:
    """A whole run, shortened: its own account of the multiple of bare cost."""

    def run() -> ril_bench.Run:
        return ril_bench.run(
            "shapes-ril", method=method, out=tmp_path, settings=["budget.updates=10"], quiet=True
        )

    made = benchmark.pedantic(run, rounds=1, iterations=1)
    benchmark.extra_info.update(made.info["cost"])


def test_measuring_the_bare_cost(benchmark: BenchmarkFixture, materials: Materials) -> None:
    """What the account itself takes: it is no part of a run's time."""
    calls: list[Call] = [("denoiser", False, 2 * PAIRS), ("decode", False, PAIRS)]
    benchmark.pedantic(
        unit_seconds,
        (calls, materials.model, materials.rewards, materials.eval_prompts),
        rounds=1,
        iterations=1,
    )
