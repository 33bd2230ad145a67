"""Estimates the memory and the operations of a run by a formula, before anything is loaded.

    peak = 1.1 (weights + folded copies + adapter and optimizer + what an update keeps), and 1 GB on a GPU

For each image of a micro-batch, an update keeps the tensors of c denoiser evaluations (C bytes each), of a decoding
(D bytes) and of the reward (R bytes). It keeps c C + D + R bytes if the tuner holds all of them in one graph, and the
larger of c C and D + R if the tuner computes them one after another. C and D are counted on the architecture
(`estimate`). R is set to a sixth of the reward's weights. This is near what ViT-L/14 and ViT-H/14 keep for an image of
224 pixels: 16 tensors of tokens x width in each layer. A reward's weights take at most twice the size of its files,
because half precision becomes float32. A file that is not on this machine, and whose size no public record states, is
not counted: the peak is then a lower bound.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from ril_bench.diagnosis import estimate
from ril_bench.diagnosis.architectures import ARCHITECTURES, TEXT_ENCODERS
from ril_bench.diffusion.configs import read_config
from ril_bench.diffusion.families import latent_size, resized
from ril_bench.machine.compute import Compute
from ril_bench.methods import Plan
from ril_bench.remote.file import RemoteFile
from ril_bench.remote.model import weight_files
from ril_bench.running.evaluation import drift_rollouts
from ril_bench.running.materials import new_tuner
from ril_bench.running.step_cost import evaluated_images, guided_calls, training_cost
from ril_bench.sequences.model_folders import hub_model, local_folder
from ril_bench.sequences.spec import Sequence, TaskSpec
from ril_bench.tuners.base import Tuner

REWARD_KEEPS = 1 / 6  # bytes that a reward keeps for each image, as a share of its weights
SLACK, CONTEXT = 1.1, 1 << 30  # a factor for the allocator; bytes of CUDA's kernels and libraries
TRAINED = 16  # bytes a weight: itself, its gradient and AdamW's two moments
BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Memory:
    """The memory of a run, in bytes.

    `task` is the task that keeps most; one of its updates keeps `kept` bytes for `images` images at once. `uncounted`
    names the files of rewards whose size is not known: `peak` leaves them out, and is then a lower bound.
    """

    device: str
    weights: dict[str, int]
    adapter: int
    kept: int
    images: int
    task: str
    peak: int
    free: int
    uncounted: list[str]

    @property
    def fits(self) -> bool | None:
        """Whether the run fits into what is free now; see `fits`."""
        return fits(self.peak, self.free, self.uncounted)


@dataclass(frozen=True)
class Footprint:
    """The memory and the operations of a sequence on a device with given options.

    Attributes:
        memory: on the device.
        peak_on_gpu: peak memory on any GPU, in bytes.
        flops_per_evaluation: operations of a denoiser call for one image.
        operations: operations of a whole run; see `operations_of`.
    """

    memory: Memory
    peak_on_gpu: int
    flops_per_evaluation: float
    operations: float


def fits(peak: int, room: int, uncounted: Collection[str]) -> bool | None:
    """Whether a run fits into `room` bytes; None where its peak does, but leaves out files of unknown size."""
    if peak > room:
        return False
    return None if uncounted else True


def footprint(sequence: Sequence, device: torch.device, compute: Compute) -> Footprint | None:
    """The footprint of a sequence; None if the model's architecture is not known.

    It is not known if the model's folder is not on this machine and the model is not a pinned one.
    """
    configs = _configs(sequence)
    if configs is None:
        return None
    (part,), rank, targets = configs.keys() - {"vae"}, sequence.adapter.rank, sequence.adapter.targets
    tuners = {task.name: new_tuner(sequence, i, sequence.reward(task.name)) for i, task in _tasks(sequence)}
    guided = guided_calls(sequence)
    graphs = {name: tuner.open_graphs(sequence.sampler.steps, guided) for name, tuner in tuners.items()}
    calls = {
        chained: estimate.denoiser(part, configs[part], rank, targets, compute, chained=chained)
        for chained in {bool(open_graphs.together) for open_graphs in graphs.values()}
    }
    decoding = estimate.decoder(configs["vae"], latent_size(configs[part]), compute)
    kept: dict[str, tuple[int, int]] = {}
    for _, task in _tasks(sequence):
        tuner, (evaluations, together) = tuners[task.name], graphs[task.name]
        scored = 0
        if "reward_gradient" in tuner.needs:
            scored = decoding.kept + round(REWARD_KEEPS * _reward_bytes(sequence, [task.name]))
        graded = evaluations * calls[together].kept
        images = images_at_once(task)
        kept[task.name] = images * (graded + scored if together else max(graded, scored)), images
    name = max(kept, key=lambda name: kept[name])
    call = next(iter(calls.values()))
    weights = _weights(sequence, configs, compute) | {"folded copies": call.folded}
    adapter = TRAINED * call.trained
    peak = round(SLACK * (sum(weights.values()) + adapter + kept[name][0]))
    memory = Memory(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU",
        weights=weights,
        adapter=adapter,
        kept=kept[name][0],
        images=kept[name][1],
        task=name,
        peak=peak + (CONTEXT if device.type == "cuda" else 0),
        free=free_memory(device),
        uncounted=sorted(
            file.name for file in _reward_files(sequence, sequence.rewards) if _bytes(file) is None
        ),
    )
    operations = operations_of(
        sequence, tuners, call.flops, decoding.flops, checkpointing=compute.checkpointing
    )
    return Footprint(memory, peak + CONTEXT, call.flops, operations)


def operations_of(
    sequence: Sequence,
    tuners: Mapping[str, Tuner],
    evaluation: float,
    decoding: float,
    *,
    checkpointing: bool = False,
) -> float:
    """Operations of a run with the plain method (naive), at most: the denoiser and the decoder.

    A backward call counts as two forward calls. Rewards, encoders and networks of the tuner's own are not counted.

    Args:
        evaluation: operations of a denoiser call for one image.
        decoding: operations of a decoding of one image.
        checkpointing: whether the backward call runs all blocks forward again.
    """
    rollout = sequence.sampler.steps * guided_calls(sequence) * evaluation
    image, backward = rollout + decoding, 3 if checkpointing else 2
    # step 0 has two sets of images: the second is the reference of FID
    total = 2 * sequence.evaluation.prompts * sequence.evaluation.images_per_prompt * image
    for i, task in _tasks(sequence):
        updates, cost = training_cost(tuners[task.name], Plan(weights={i: 1.0}), sequence, i)
        total += evaluation * (cost.evaluations + backward * cost.graded)
        total += decoding * (cost.images + backward * cost.graded_images)
        total += evaluated_images(sequence, updates) * image + drift_rollouts(sequence, i) * rollout
    return total


def images_at_once(task: TaskSpec) -> int:
    """The samples of a micro-batch."""
    return min(task.budget.micro_batch or task.budget.batch, task.budget.batch)


def _tasks(sequence: Sequence) -> list[tuple[int, TaskSpec]]:
    return [(i, sequence.task(i)) for i in range(1, len(sequence.tasks) + 1)]


def free_memory(device: torch.device) -> int:
    """Bytes that are free now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


@torch.no_grad()
def rate(device: torch.device, compute: Compute, seconds: float = 0.5) -> float:
    """Operations a second of a matrix product in the denoiser's number format.

    They are measured for `seconds`.
    """
    side = 8192 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=getattr(torch, compute.dtype))
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < 2:
        began = time.perf_counter()
        product = a @ a
        float(product[0, 0])  # waits for the device
        taken.append(time.perf_counter() - began)
    return 2.0 * side**3 / min(taken)


def _configs(sequence: Sequence) -> Mapping[str, Mapping[str, Any]] | None:
    """The configs of the denoiser and of the autoencoder by part, for the size of the sequence's images."""
    configs, size = _configs_of_model(sequence.model), sequence.sampler.size
    if configs is None or size is None:
        return configs
    (part,) = configs.keys() - {"vae"}
    return {**configs, part: {**configs[part], **resized(configs[part], configs["vae"], size)}}


def _configs_of_model(reference: str) -> Mapping[str, Mapping[str, Any]] | None:
    """From the model's folder, else as published."""
    if folder := local_folder(reference):
        files = {part: folder / part / "config.json" for part in (*estimate.DENOISERS, "vae")}
        found = {part: read_config(file) for part, file in files.items() if file.is_file()}
        return found if len(found) == 2 and "vae" in found else None
    model = hub_model(reference)
    return ARCHITECTURES.get(model.repo) if model else None


def _weights(
    sequence: Sequence, configs: Mapping[str, Mapping[str, Any]], compute: Compute
) -> dict[str, int]:
    """Bytes in memory, by part."""
    (part,) = configs.keys() - {"vae"}
    found = {
        "denoiser": BYTES[compute.dtype] * estimate.parameters(configs[part], estimate.DENOISERS[part]),
        "autoencoder": BYTES[compute.vae_dtype] * estimate.parameters(configs["vae"], estimate.AutoencoderKL),
        "text encoders": BYTES[compute.dtype] * _text_weights(sequence.model),
    }
    return found | {"rewards": _reward_bytes(sequence, sequence.rewards)}


def _reward_files(sequence: Sequence, names: Iterable[str]) -> set[Path | RemoteFile]:
    """The files of these rewards' weights, each once."""
    return {file for name in names for file in sequence.reward(name).weights}


def _reward_bytes(sequence: Sequence, names: Iterable[str]) -> int:
    """The largest size of these rewards' weights in float32, without files of unknown size."""
    return sum(2 * (_bytes(file) or 0) for file in _reward_files(sequence, names))


def _text_weights(reference: str) -> int:
    """How many weights the text encoders have."""
    if folder := local_folder(reference):
        return sum(
            estimate.stored_weights(file)
            for part in sorted(folder.glob("text_encoder*"))
            for file in weight_files(part)
        )
    model = hub_model(reference)
    encoders = TEXT_ENCODERS.get(model.repo, ()) if model else ()
    return sum(estimate.parameters(config, kind) for kind, config in encoders)


def _bytes(file: Path | RemoteFile) -> int | None:
    """The size of a file, or of a folder; None where it is not known."""
    if isinstance(file, RemoteFile):
        return file.known_size
    return sum(
        path.stat().st_size for path in ([file] if file.is_file() else file.rglob("*")) if path.is_file()
    )
