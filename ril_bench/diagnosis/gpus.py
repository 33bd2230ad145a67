"""Hours on common GPUs, estimated from counted operations and published peak rates.

No value here was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from ril_bench.diagnosis.footprint import Footprint, fits
from ril_bench.machine.compute import Compute

#: the share of the peak rate that a run reaches; a usual value for diffusion models in PyTorch [ours]
EFFICIENCY = 0.4


@dataclass(frozen=True)
class GPU:
    """A GPU with the values of its data sheet [memory].

    `memory` is in GB (2^30 bytes). Rates are in TFLOP/s without sparsity: float32 without TF32, and bfloat16 on tensor
    cores (None if the tensor cores lack bfloat16).
    """

    name: str
    memory: int
    float32: float
    bfloat16: float | None


GPUS = (
    GPU("T4", 16, 8.1, None),
    GPU("RTX 3090", 24, 35.6, 71.0),
    GPU("RTX 4090", 24, 82.6, 165.2),
    GPU("L4", 24, 30.3, 121.0),
    GPU("A100", 80, 19.5, 312.0),
    GPU("H100", 80, 67.0, 989.0),
)


@dataclass(frozen=True)
class GPUEstimate:
    """A run on one GPU: whether it fits (None if the peak leaves weights out), and hours (None if it lacks the number
    format).
    """

    gpu: str
    memory: int
    fits: bool | None
    hours: float | None


def estimates(found: Footprint, compute: Compute) -> list[GPUEstimate]:
    """hours = counted operations / (efficiency x peak rate of the denoiser's number format)."""
    rows = []
    for gpu in GPUS:
        peak = gpu.float32 if compute.dtype == "float32" else gpu.bfloat16
        hours = None if peak is None else found.operations / (EFFICIENCY * peak * 1e12) / 3600
        enough = fits(found.peak_on_gpu, gpu.memory << 30, found.memory.uncounted)
        rows.append(GPUEstimate(gpu.name, gpu.memory, enough, hours))
    return rows
