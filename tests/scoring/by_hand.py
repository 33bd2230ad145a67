"""A run folder that is written by hand: two tasks, two prompts, one sample. Its numbers can be computed on paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ril_bench.running.evaluation import png
from ril_bench.sequences.spec import Sequence
from ril_bench.storage.run_folder import RunFolder, parquet_bytes

# step -> reward -> one score for each of the two prompts
SCORES = {
    0: {"brightness": (100, 104), "symmetry": (-11, -9)},
    1: {"brightness": (106, 110), "symmetry": (-13, -11)},
    2: {"brightness": (103, 107), "symmetry": (-7, -5)},
}
RESOURCES = ("train_seconds", "evaluation_seconds", "denoiser_forwards", "denoiser_backwards", "reward_calls")
SIZES = ("trainable_bytes", "stored_bytes", "carried_bytes")
SIGMA = np.sqrt(8.0)  # the standard deviation of (100, 104), with n - 1
SIGMA_2 = np.sqrt(2.0)


def write_run(to: Path, tiny_data: dict[str, Any]) -> Path:
    """Writes the run; the images of prompt 1 are brighter at each step."""
    data = {**tiny_data, "evaluation": {"prompts": 2, "images_per_prompt": 1, "seed": 0, "probes": []}}
    folder = RunFolder(to)
    rows = [
        {
            "step": step,
            "reward": name,
            "prompt_id": f"{p:03d}",
            "sample": 0,
            "score": float(score),
            "trained": True,
        }
        for step, rewards in SCORES.items()
        for name, scores in rewards.items()
        for p, score in enumerate(scores)
    ]
    folder.write_bytes("scores.parquet", parquet_bytes(pd.DataFrame(rows)))
    grey = torch.Generator().manual_seed(0)
    for step in SCORES:
        for prompt in range(2):
            image = torch.randint(0, 40, (3, 64, 64), generator=grey) + 60 * step * prompt
            folder.write_bytes(f"step-{step}/images/{prompt:03d}-0.png", png(image.byte()))
    prompts = [{"prompt_id": f"{p:03d}", "prompt": f"prompt {p}"} for p in range(2)]
    folder.write_text("prompts.json", json.dumps(prompts))
    step_entry = dict.fromkeys(RESOURCES, 2) | dict.fromkeys(SIZES, 7) | {"peak_memory_bytes": 7}
    folder.update_run(
        schema_version=1,
        status="complete",
        sequence=Sequence.model_validate(data).model_dump(mode="json"),
        steps=[{"step": i, **step_entry} for i in SCORES],
        calibration=None,
    )
    return folder.path


def read(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())
