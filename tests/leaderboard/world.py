"""A tiny official sequence on the embedded world, with a calibration, and a leaderboard with an honest method on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from ril_bench import registry
from ril_bench.leaderboard.submit import submit
from ril_bench.running.provenance import processor
from tests import tiny

SEEDS = 3
SEQUENCE = {
    "name": "tiny-shapes",
    "version": 2,
    "model": "shapes-64",
    "prompts": {"train": "shapes/train", "eval": "shapes/eval"},
    "sampler": {"steps": 2, "guidance": 1.0, "eta": 1.0},
    "adapter": {"rank": 2, "alpha": 2, "targets": ["to_q", "to_v"]},
    "tuner": {"name": "draft", "k": 1},
    "optimizer": {"lr": 0.05, "weight_decay": 1e-4, "max_grad_norm": 1.0},
    "budget": {"updates": 2, "batch": 2},
    "units": {"images": 4},
    "tasks": [{"reward": "brightness"}, {"reward": "symmetry"}],
    "evaluation": {"prompts": 4, "images_per_prompt": 2, "seed": 7, "probes": ["compressibility"]},
}
CARD: dict[str, Any] = {
    "authors": ["A. Author", "B. <b>Author</b>"],
    "paper": "https://arxiv.org/abs/2411.17310",
    "code": None,
    "licence": "Apache-2.0",
    "description": "Sequential fine-tuning & nothing <i>else</i>.",
    "oracle": False,
    "seeds": SEEDS,
    "trials": {"tuned": 0, "private": 1, "how": "there is nothing to tune"},
}


def install(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Makes `folder` the place of the sequences that ship."""
    shipped = registry.shipped
    patch.setattr(registry, "shipped", lambda kind: folder if kind == "tasks" else shipped(kind))


def write_sequences(folder: Path) -> None:
    """All that ship, and the tiny one, calibrated; `install` must be in force for the folder."""
    (folder / "tiny-shapes.yaml").write_text(yaml.safe_dump(SEQUENCE, sort_keys=False))
    probe = tiny.runner("tiny-shapes", folder.parent / "probe").execute()
    scores = pd.read_parquet(probe / "scores.parquet")
    before = scores[scores["step"] == 0]
    entries = {}
    for name, rows in before.groupby("reward"):
        b, sigma = float(rows["score"].mean()), float(rows.groupby("prompt_id")["score"].mean().std())
        tuned = name in ("brightness", "symmetry")
        own = {"u": b + sigma, "se": sigma / 10, "seeds": [b + sigma] * 3} if tuned else {}
        entries[name] = {"direction": 1, "unit": "made up", "b": b, "sigma": sigma, **own}
    calibration = {
        "sequence": "tiny-shapes",
        "version": SEQUENCE["version"],
        "made_with": {"cpu": processor()},
        "rewards": entries,
    }
    (folder / "tiny-shapes.calibration.json").write_text(json.dumps(calibration))


def executed(out: Path, seeds: int = SEEDS, **plan: Any) -> list[Path]:
    """The folders of runs that differ in their seed alone."""
    runs: list[tiny.Runner] = []
    for seed in range(seeds):
        loaded = runs[-1].loaded_materials if runs else None
        runs.append(tiny.runner("tiny-shapes", out, seed=seed, materials=loaded, **plan))
        runs[-1].execute()
    return [run.folder.path for run in runs]


def honest(folder: Path, method: str = "naive", seeds: int = SEEDS) -> Path:
    """Runs a method's seeds and submits them to a new leaderboard, which is returned."""
    runs = executed(folder / "runs", seeds, method=method)
    card = folder / "method.yaml"
    card.write_text(yaml.safe_dump({**CARD, "seeds": seeds}))
    submit(runs, card=card, board=folder / "leaderboard")
    return folder / "leaderboard"
