"""Time of the metrics: pytest tests/benchmarks/test_metrics.py --benchmark-enable

Run it on a quiet machine.
"""

from __future__ import annotations

from time import process_time

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ril_bench.metrics.edges import edge_maps
from ril_bench.metrics.frechet import _product_eigenvalues
from ril_bench.metrics.kernel import kernel_distance
from ril_bench.metrics.statistics import mean_interval
from ril_bench.metrics.structure import ms_ssim, perceptual_distance, ssim
from ril_bench.worlds.shapes.extractors import ShapesMaps

DIMENSION = 2048  # Inception's features
PAIRS = 128  # images of an evaluation of shapes-ril


def covariance(seed: int) -> np.ndarray:
    """The covariance of features with different scales and mostly shared variance.

    The features of a network are similar.
    """
    rng = np.random.default_rng(seed)
    scales = np.linspace(2, 0.05, DIMENSION) ** 2
    rows = rng.gamma(2, size=(5000, DIMENSION)) * scales
    return np.cov(rows + rng.normal(size=(5000, 40)) @ rng.normal(size=(40, DIMENSION)), rowvar=False)


def symmetric(S1: np.ndarray, S2: np.ndarray) -> float:
    return float(np.sqrt(_product_eigenvalues(S1, S2).clip(min=0)).sum())


def general(S1: np.ndarray, S2: np.ndarray) -> float:
    """As torch-fidelity and torchmetrics compute it."""
    return float(np.sqrt(np.linalg.eigvals(S1 @ S2).astype(complex)).real.sum())


def test_trace_of_the_root_by_symmetric_and_general_eigenvalues(benchmark: BenchmarkFixture) -> None:
    """extra_info has the processor time of both ways, the least of five rounds, and the ratio.

    One thread (OMP_NUM_THREADS=1): threads that wait for each other on busy cores spend processor time too.
    """
    covariances = covariance(0), covariance(1)
    spent: dict[str, list[float]] = {"symmetric": [], "general": []}
    found = {}

    def both() -> None:
        for way in (symmetric, general):
            began = process_time()
            found[way.__name__] = way(*covariances)
            spent[way.__name__].append(process_time() - began)

    benchmark.pedantic(both, rounds=5, warmup_rounds=1)
    least = {name: min(seconds[1:] or seconds) for name, seconds in spent.items()}
    benchmark.extra_info |= {name: f"{seconds:.2f} s" for name, seconds in least.items()}
    benchmark.extra_info["symmetric / general"] = f"{least['symmetric'] / least['general']:.3f}"
    assert found["symmetric"] == pytest.approx(found["general"], rel=1e-6)


@pytest.mark.parametrize("metric", [ssim, ms_ssim])
def test_image_pairs(benchmark: BenchmarkFixture, metric) -> None:
    benchmark(metric, *torch.rand(2, PAIRS, 3, 64, 64, dtype=torch.float64))


def test_edge_maps(benchmark: BenchmarkFixture) -> None:
    benchmark(edge_maps, torch.rand(2 * PAIRS, 3, 64, 64, dtype=torch.float64))


def test_perceptual_distance(benchmark: BenchmarkFixture) -> None:
    maps = ShapesMaps()
    images = torch.randint(0, 256, (2, PAIRS, 3, 64, 64)).byte()
    benchmark(lambda: perceptual_distance(*(maps(part) for part in images)))


def test_kernel_distance(benchmark: BenchmarkFixture) -> None:
    a, b = np.random.default_rng(0).normal(size=(2, PAIRS, 64))
    benchmark(kernel_distance, a, b, (range(PAIRS), range(PAIRS)))


def test_interval_of_thirty_units(benchmark: BenchmarkFixture) -> None:
    benchmark(mean_interval, np.random.default_rng(0).normal(size=30))
