"""Time and memory of Stable Diffusion 1.5 or 3.5 Medium on a GPU, with random weights and 512 pixels.

    python -m tests.benchmarks.gpu --out gpu.json            # on a machine with CUDA: about ten minutes
    python -m tests.benchmarks.gpu --model sd35              # the flow-matching transformer, without T5
    python -m tests.benchmarks.gpu --tuner draft-1           # only this tuner; repeatable
    python -m tests.benchmarks.gpu --tiny                    # a small model on any machine, to test this script

It measures seconds and peak memory of an update by each tuner, training as a multiple of bare cost, DRTune's memory by
K, bfloat16 against float32, and the embedded world on both devices. It prints a line for each tuner as it is measured,
then JSON with all bounds and whether they hold.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import ril_bench
from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.machine.compute import PLAIN, Compute
from ril_bench.machine.packages import versions
from ril_bench.machine.peak_memory import peak_memory, start_peak_memory
from ril_bench.rewards.pixels import Brightness
from ril_bench.running import provenance
from ril_bench.running.bare_cost import bare_seconds, unit_seconds
from ril_bench.running.training import Training
from tests.benchmarks.published import SD15, SD35, TARGETS, random_model
from tests.pipelines import stable_diffusion, stable_diffusion_3
from tests.tiny import PROMPTS, LoraPerTask, bound, reward_task, training, tuner

TUNERS: dict[str, dict[str, Any]] = {
    "draft-1": {"name": "draft", "k": 1},
    "draft-5": {"name": "draft", "k": 5},
    "drtune-1": {"name": "drtune", "k": 1},
    "drtune-5": {"name": "drtune", "k": 5},
    "nabla_gflownet": {"name": "nabla_gflownet"},
    "adjoint_matching": {"name": "adjoint_matching"},
    "ddpo": {"name": "ddpo", "samples": 2},
    "nft": {"name": "nft", "samples": 2},
    "crd": {"name": "crd", "samples": 2},
}


@dataclass(frozen=True)
class Setting:
    """An architecture, the sampler of its sequences in tasks/, and a tiny pipeline of its family for --tiny."""

    repo: str
    steps: int
    guidance: float
    tiny: Callable[[], Any]


MODELS = {
    "sd15": Setting(SD15, 50, 7.5, stable_diffusion),
    "sd35": Setting(SD35, 28, 4.5, stable_diffusion_3),
}
UPDATES = 3  # measured, after a first one in which libraries initialise
BATCH = 4
LATENT = 64  # 512 pixels
#: time of training / bare cost; DRTune's memory at K = 5 / at K = 1; cosine of gradients; scores on two devices
BOUNDS = {"training_ratio": 1.1, "memory_ratio": 1.1, "cosine": 0.99, "devices": 0.05}


class Bench:
    """The model, the device and the settings of the measurements."""

    def __init__(self, architecture: str, tiny: bool):
        self.setting, self.tiny = MODELS[architecture], tiny
        self.device = torch.device("cuda" if torch.cuda.is_available() and not tiny else "cpu")
        self.steps = 10 if tiny else self.setting.steps

    def model(self, compute: Compute) -> DiffusionModel:
        if self.tiny:
            return DiffusionModel(self.setting.tiny(), adapter=AdapterSpec(8, 8, TARGETS), compute=compute)
        return random_model(self.setting.repo, latent=LATENT, device=str(self.device), compute=compute)

    def training(self, model: DiffusionModel, options: dict[str, Any], updates: int) -> Training:
        """The training of a task at its start, on a reward whose cost is negligible."""
        for name in model.adapters:
            model.delete_adapter(name)
        sampler = model.sampler(self.steps, 1.0)
        task = replace(reward_task(model), sampler=sampler, guidance=self.setting.guidance)
        method = bound(LoraPerTask(), model)
        return training(model, method, tuner=tuner(options), task=task, updates=updates, batch=BATCH)

    def settle(self) -> None:
        """Waits for the device, and resets its peak memory."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            start_peak_memory(self.device)


def tuners(bench: Bench, names: Iterable[str] = TUNERS) -> dict[str, dict[str, Any]]:
    """Seconds, peak bytes and the multiple of bare cost of each tuner's updates; prints them as they come."""
    model, found = bench.model(Compute(dtype="bfloat16")), {}
    print(f"{'tuner':<18}{'s / update':>12}{'peak GB':>10}{'x bare':>8}")
    for name in names:
        trainer = bench.training(model, TUNERS[name], 1 + UPDATES)
        seconds: list[float] = []
        calls: list[Counter[Any]] = []

        def noted(
            line: dict[str, Any], seconds: list[float] = seconds, calls: list[Counter[Any]] = calls
        ) -> None:
            bench.settle() if not seconds else None
            seconds.append(line["seconds"])
            calls.append(Counter(model.counter))
            model.counter.clear()

        model.counter.clear()
        trainer.run(noted)
        peak = peak_memory(bench.device)
        counted = sum(calls[1:], Counter())
        units = unit_seconds(list(counted), model, {"brightness": Brightness()}, PROMPTS, rounds=3)
        found[name] = {
            "seconds": statistics.median(seconds[1:]),
            "peak_bytes": peak,
            "training_ratio": sum(seconds[1:]) / bare_seconds(counted, units),
        }
        print(
            "{0:<18}{seconds:>12.3f}{gb:>10.2f}{training_ratio:>8.2f}".format(
                name, gb=peak / 1e9, **found[name]
            ),
            flush=True,
        )
    return found


def gradient(bench: Bench, compute: Compute) -> torch.Tensor:
    """The gradient of one update of DRaFT-1, on adapters that are not zero."""
    model = bench.model(compute)
    trainer = bench.training(model, TUNERS["draft-1"], 1)
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
            parameter.add_(0.02 * noise.to(parameter))
    trainer.run(lambda line: None)
    return torch.cat([parameter.grad.flatten().cpu() for parameter in model.parameters()])


def devices(bench: Bench) -> float:
    """The largest difference of a mean score of shapes-smoke between the two devices.

    The unit is the standard deviation over prompts.
    """
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            ril_bench.run(
                "shapes-smoke", method="naive", out=Path(folder) / device, device=device, quiet=True
            )
            for device in ("cpu", bench.device.type)
        ]
        on_cpu, on_device = (run.matrix for run in runs)
        spread = runs[0].scores.groupby("reward")["score"].std()[on_cpu.columns]
        return float(((on_cpu - on_device).abs() / spread).max().max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a small model on the CPU, whose numbers mean nothing"
    )
    parser.add_argument("--model", choices=MODELS, default="sd15", help="the architecture; default: sd15")
    parser.add_argument("--tuner", action="append", choices=TUNERS, help="repeatable; default: all")
    parser.add_argument("--out", type=Path, help="a file for the JSON")
    given = parser.parse_args()
    bench, began = Bench(given.model, given.tiny), time.perf_counter()
    if bench.device.type != "cuda" and not given.tiny:
        raise SystemExit("no CUDA device here; --tiny tests this script without one")
    found = tuners(bench, given.tuner or TUNERS)
    plain, half = (gradient(bench, compute) for compute in (PLAIN, Compute(dtype="bfloat16")))
    metrics = {
        "training_ratio": max(entry["training_ratio"] for entry in found.values()),
        "cosine": float(F.cosine_similarity(plain.double(), half.double(), dim=0)),
        "devices": devices(bench),
    }
    if {"drtune-1", "drtune-5"} <= set(found):
        metrics["memory_ratio"] = found["drtune-5"]["peak_bytes"] / found["drtune-1"]["peak_bytes"]
    held = {
        name: value >= BOUNDS[name] if name == "cosine" else value <= BOUNDS[name]
        for name, value in metrics.items()
    }
    report = {
        "hardware": provenance.hardware(bench.device),
        "versions": versions(),
        "model": given.model,
        "tiny": given.tiny,
        "settings": {
            "steps": bench.steps,
            "batch": BATCH,
            "guidance": bench.setting.guidance,
            "dtype": "bfloat16",
        },
        "tuners": found,
        "figures": metrics,
        "bounds": BOUNDS,
        "held": held,
        "seconds": time.perf_counter() - began,
    }
    for name, value in metrics.items():
        print(f"{name:<16}{value:>12.4f}   bound {BOUNDS[name]:g}   {'held' if held[name] else 'NOT held'}")
    written = json.dumps(report, indent=2)
    print(written)
    if given.out:
        given.out.write_text(written + "\n")


if __name__ == "__main__":
    main()
