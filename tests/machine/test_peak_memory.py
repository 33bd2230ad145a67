"""The peak of memory since a chosen moment, against what psutil and the system report."""

from __future__ import annotations

import platform
import resource
import sys

import psutil
import pytest
import torch

from ril_bench.machine import peak_memory as module
from ril_bench.machine.peak_memory import peak_memory, start_peak_memory

CPU = torch.device("cpu")
SIZE = 256 << 20


@pytest.mark.skipif(
    platform.system() != "Linux", reason="the peak of a process can start again on Linux alone"
)
def test_it_leaves_out_what_was_freed_before() -> None:
    if not start_peak_memory(CPU):
        pytest.skip("this system does not let a process start its peak again")
    before = psutil.Process().memory_info().rss
    large = torch.ones(SIZE // 4)
    del large
    assert peak_memory(CPU) >= before + 0.9 * SIZE
    start_peak_memory(CPU)
    assert peak_memory(CPU) <= before + 0.3 * SIZE


def test_without_the_counter_of_linux_it_is_the_peak_of_the_process(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "STATUS", tmp_path / "none")
    monkeypatch.setattr(module, "RESETS", tmp_path / "none" / "clear_refs")
    assert not start_peak_memory(CPU)
    unit = 1 if sys.platform == "darwin" else 1024
    assert peak_memory(CPU) == unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu() -> None:
    gpu = torch.device("cuda", torch.cuda.current_device())
    start_peak_memory(gpu)
    before = torch.cuda.memory_allocated(gpu)
    large = torch.ones(SIZE // 4, device=gpu)
    del large
    assert peak_memory(gpu) >= before + SIZE
    assert start_peak_memory(gpu)
    assert peak_memory(gpu) <= before
