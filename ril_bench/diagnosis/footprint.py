"""The memory and time that a sequence will take on a machine, before anything is loaded: a stated formula.

    peak = 1.1 (weights + folded copies + adapter and optimizer + what an update keeps), and 1 GB on a GPU

An update keeps c C + D + R bytes for each image of a micro-batch, where its tuner holds c denoiser evaluations with
the decoding and the reward in one graph, and the larger of c C and D + R where it takes them one after another. C and D
are counted on the architecture (estimate). R is taken as a sixth of the reward's weights, near what ViT-L/14 and
ViT-H/14 keep of an image at 224 pixels: 16 tensors of tokens x width in a layer. A reward's weights are at most twice
its files, as those in half precision double. The time is a lower bound: counted denoiser evaluations of rollouts and
images, at the rate of a plain matrix product on this machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from ril_bench import registry
from ril_bench.diagnosis import estimate
from ril_bench.diagnosis.architectures import ARCHITECTURES
from ril_bench.machine.compute import Compute
from ril_bench.remote.file import RemoteFile
from ril_bench.sequences.model_folders import hub_model, local_folder
from ril_bench.sequences.spec import Sequence, TaskSpec

REWARD_KEEPS = 1 / 6  # of its weights, for each image
SLACK, CONTEXT = 1.1, 1 << 30  # of the allocator; of CUDA's own kernels and libraries
TRAINED = 16  # bytes a weight: itself, its gradient and AdamW's two moments
BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Memory:
    """Bytes. `kept` is what an update keeps for `images` images at once; `task` is the one that keeps most."""

    device: str
    weights: dict[str, int]
    adapter: int
    kept: int
    images: int
    task: str
    peak: int
    free: int

    @property
    def fits(self) -> bool:
        """Whether the peak is below what is free now."""
        return self.peak <= self.free


@dataclass(frozen=True)
class Footprint:
    """What a sequence takes on a device with given options."""

    memory: Memory
    flops_per_evaluation: float


def footprint(sequence: Sequence, device: torch.device, compute: Compute) -> Footprint | None:
    """None where the model's architecture is not known: it is neither here nor a pinned one."""
    configs = _configs(sequence.model)
    if configs is None:
        return None
    guided = 1 if sequence.sampler.guidance == 1 else 2
    kept: dict[str, tuple[int, int]] = {}
    rank, targets = sequence.adapter.rank, sequence.adapter.targets
    for i in range(1, len(sequence.tasks) + 1):
        task = sequence.task(i)
        tuner = registry.load("tuner", task.tuner.name)(**task.tuner.options)
        evaluations, together = tuner.holds(sequence.sampler.steps, guided)
        call = estimate.denoiser(configs["unet"], rank, targets, compute, chained=together)
        decoded = estimate.decoder(configs["vae"], estimate.latent_size(configs["unet"]), compute)
        scored = 0
        if "reward_gradient" in tuner.needs:
            scored = decoded.kept + round(REWARD_KEEPS * _reward_bytes(sequence, [task.name]))
        graded = evaluations * call.kept
        images = _images(task)
        each = graded + scored if together else max(graded, scored)
        kept[task.name] = images * each, images
    name = max(kept, key=lambda name: kept[name])
    weights = _weights(sequence, configs, compute) | {"folded copies": call.folded}
    adapter = TRAINED * call.trained
    peak = sum(weights.values()) + adapter + kept[name][0]
    memory = Memory(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU",
        weights=weights,
        adapter=adapter,
        kept=kept[name][0],
        images=kept[name][1],
        task=name,
        peak=round(SLACK * peak) + (CONTEXT if device.type == "cuda" else 0),
        free=free_memory(device),
    )
    return Footprint(memory, call.flops)


def free_memory(device: torch.device) -> int:
    """Bytes that are free now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


@torch.no_grad()
def rate(device: torch.device, compute: Compute, seconds: float = 0.5) -> float:
    """Operations a second of a plain matrix product in the denoiser's number format, measured for so long."""
    side = 8192 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=getattr(torch, compute.dtype))
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < 2:
        began = time.perf_counter()
        product = a @ a
        float(product[0, 0])  # waits for the device
        taken.append(time.perf_counter() - began)
    return 2.0 * side**3 / min(taken)


def _images(task: TaskSpec) -> int:
    return min(task.budget.micro_batch or task.budget.batch, task.budget.batch)


def _configs(reference: str) -> Mapping[str, Mapping[str, Any]] | None:
    """unet and vae, from the model's folder, else as published."""
    if folder := local_folder(reference):
        files = {part: folder / part / "config.json" for part in ("unet", "vae")}
        whole = all(file.is_file() for file in files.values())
        return {part: json.loads(file.read_bytes()) for part, file in files.items()} if whole else None
    model = hub_model(reference)
    return ARCHITECTURES.get(model.repo) if model else None


def _weights(
    sequence: Sequence, configs: Mapping[str, Mapping[str, Any]], compute: Compute
) -> dict[str, int]:
    """Bytes in memory, by part."""
    found = {
        "denoiser": BYTES[compute.dtype]
        * estimate.parameters(configs["unet"], estimate.UNet2DConditionModel),
        "autoencoder": BYTES[compute.vae_dtype] * estimate.parameters(configs["vae"], estimate.AutoencoderKL),
        "text encoders": BYTES[compute.dtype] * _text_weights(sequence.model),
    }
    return found | {"rewards": _reward_bytes(sequence, sequence.rewards)}


def _reward_bytes(sequence: Sequence, names: Iterable[str]) -> int:
    """Of the weights of some rewards in float32, at most; what several share is counted once."""
    return sum(
        2 * _bytes(file) for file in {file for name in names for file in sequence.reward(name).weights}
    )


def _text_weights(reference: str) -> int:
    """How many weights the text encoders have."""
    if folder := local_folder(reference):
        return sum(
            estimate.stored_weights(file) for file in sorted(folder.glob("text_encoder*/*.safetensors"))
        )
    model = hub_model(reference)
    files = [file for file in model.pinned_files if "text_encoder" in file.file] if model else []
    return sum((file.size or 0) // BYTES["float32"] for file in files)


def _bytes(file: Path | RemoteFile) -> int:
    if isinstance(file, RemoteFile):
        return file.size or 0
    return sum(
        path.stat().st_size for path in ([file] if file.is_file() else file.rglob("*")) if path.is_file()
    )
