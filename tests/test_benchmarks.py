"""What only a machine with a GPU measures still starts on this one."""

from __future__ import annotations

import pytest

from ril_bench.machine.compute import PLAIN
from tests.benchmarks import gpu


@pytest.fixture(scope="module", params=gpu.MODELS)
def bench(request):
    return gpu.Bench(request.param, tiny=True)


@pytest.mark.parametrize("name", gpu.TUNERS)
def test_the_gpu_benchmark_trains_with_every_tuner(bench, name):
    lines = []
    bench.training(bench.model(PLAIN), gpu.TUNERS[name], updates=1).run(lines.append)
    assert len(lines) == 1
