"""The largest memory in use since a moment that the caller chooses: a process may execute many steps and runs."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import torch

from ril_bench.machine.memory import return_freed_memory

# of Linux, where the process's own counter can start again (man proc_pid_clear_refs)
STATUS, RESETS, START_AGAIN = Path("/proc/self/status"), Path("/proc/self/clear_refs"), "5"


def start_peak_memory(device: torch.device) -> bool:
    """Makes `peak_memory` leave out all earlier peaks.

    Returns False where the system cannot: without Linux's counter, the peak of the process stays.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    return_freed_memory()  # else what an earlier step has freed would count as in use
    try:
        RESETS.write_text(START_AGAIN)
    except OSError:
        return False
    return True


def peak_memory(device: torch.device) -> int:
    """Bytes: the largest resident size of the process, or the largest allocation on the GPU.

    Since the last `start_peak_memory`, else since the start of the process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if STATUS.exists() and (found := re.search(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)):
        return 1024 * int(found[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
