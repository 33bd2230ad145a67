from __future__ import annotations

import ctypes
import platform

import psutil
import pytest
import torch

from ril_bench.machine.memory import keep_freed_memory, return_freed_memory

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")


@on_glibc
def test_glibc_takes_both_thresholds():
    assert keep_freed_memory()


@on_glibc
def test_what_is_kept_can_be_returned():
    keep_freed_memory()
    tensors = [torch.ones(1 << 18) for _ in range(200)]  # 1 MB each
    full = psutil.Process().memory_info().rss
    del tensors
    assert full - psutil.Process().memory_info().rss < 20 << 20
    assert return_freed_memory()
    assert full - psutil.Process().memory_info().rss > 150 << 20


def test_another_c_library_is_no_fault(monkeypatch):
    def none(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert not keep_freed_memory()
    assert not return_freed_memory()
