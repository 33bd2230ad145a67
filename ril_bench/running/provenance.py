"""The origin of a result: git revision and hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from ril_bench.machine.compute import PLAIN, Compute
from ril_bench.machine.git import git


def revision() -> dict[str, Any] | None:
    """The git revision of the running checkout, and whether the checkout has changes.

    None for an installed wheel.
    """
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = git(root, "rev-parse", "HEAD").strip()
        changes = git(root, "status", "--porcelain", "--ignore-submodules=all")
    except (OSError, subprocess.CalledProcessError):
        return None  # git is not installed, or there is no commit yet
    return {"revision": head, "dirty": bool(changes.strip())}


def hardware(device: torch.device, compute: Compute = PLAIN) -> dict[str, Any]:
    """The processor, its cores, the threads in use, the GPU of the run, and the number formats."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "compute": compute.numerics,
    }


def processor() -> str:
    """The name of the CPU."""
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
