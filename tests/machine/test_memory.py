from __future__ import annotations

import ctypes
import platform

import pytest

from ril_bench.machine.memory import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_glibc_takes_both_thresholds():
    assert keep_freed_memory()


def test_another_c_library_is_no_fault(monkeypatch):
    def none(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert not keep_freed_memory()
