"""Time and memory of one update by each tuner on the true architectures.

    python -m tests.benchmarks.architectures sd15           # 860M weights in float32
    python -m tests.benchmarks.architectures sdxl --tuner draft --tuner drtune      # 2.6B weights in bfloat16
    python -m tests.benchmarks.architectures sd35           # 2.5B weights in bfloat16, without T5
    python -m tests.benchmarks.architectures sd35 --device cuda --pixels 512     # at full size on a GPU

Weights are random, trajectories have three steps, and images are tiny by default. It takes minutes and 6 GB (sd15) or
9 GB (sdxl, sd35) of memory, so it is not part of the suite.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ril_bench.machine.compute import Compute
from ril_bench.machine.peak_memory import peak_memory, start_peak_memory
from tests.benchmarks.published import SD15, SD35, SDXL, random_model
from tests.tiny import PROMPTS, LoraPerTask, bound, training, tuner
from tests.tuners.variants import IMAGES, TUNERS

HALF = Compute(dtype="bfloat16", vae_dtype="bfloat16")
MODELS = {"sd15": (SD15, Compute()), "sdxl": (SDXL, HALF), "sd35": (SD35, HALF)}
PIXELS_OF_A_LATENT = 8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--tuner", action="append", choices=TUNERS, help="repeatable; default: all")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; default: cpu")
    parser.add_argument("--pixels", type=int, default=64, help="the side of an image; default: 64")
    given = parser.parse_args()
    repo, compute = MODELS[given.model]
    began = time.perf_counter()
    model = random_model(
        repo, latent=given.pixels // PIXELS_OF_A_LATENT, device=given.device, compute=compute
    )
    weights = sum(parameter.numel() for parameter in model.denoiser.parameters())
    print(
        f"{given.model}: {weights / 1e6:.1f}M weights, generated in {time.perf_counter() - began:.0f} s",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        _images(Path(folder))
        for name in given.tuner or TUNERS:
            options = {k: folder if v == IMAGES else v for k, v in TUNERS[name].items()}
            print(
                json.dumps({"tuner": name, **_update(model, {"name": name.partition("-")[0], **options})}),
                flush=True,
            )


def _update(model, options):
    """Runs one update, and checks that it changes the adapter."""
    for name in model.adapters:
        model.delete_adapter(name)
    trainer = training(model, bound(LoraPerTask(), model), tuner=tuner(options), updates=1, batch=1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    start_peak_memory(model.device)
    lines, began = [], time.perf_counter()
    trainer.run(lines.append)
    moved = sum(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert moved, "nothing was learned"
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "score": lines[0]["score"],
        "loss": lines[0]["loss"],
        "gradient": lines[0]["grad_norm"],
        "moved": f"{moved} of {len(before)} tensors",
        "peak_gb": round(peak_memory(model.device) / 1e9, 2),
    }


def _images(folder: Path) -> None:
    """Writes images of noise with the tiny prompts, for the tuners that learn from images."""
    rng = np.random.default_rng(0)
    for number in range(len(PROMPTS)):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / f"{number}.png")
    rows = [f"{number}.png,{prompt}" for number, prompt in enumerate(PROMPTS)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,prompt", *rows]))


if __name__ == "__main__":
    main()
