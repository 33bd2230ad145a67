"""A run folder made of numpy and PIL, with every file a report reads: images drift, rewards fade."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

REWARDS = ["aesthetic", "compressibility", "brightness"]
PROBES = ["clip_score", "attributes"]
UNITS = {
    "aesthetic": "points",
    "compressibility": "dB",
    "brightness": "mean",
    "clip_score": "cosine",
    "attributes": "share",
}
RESOURCES = {
    "train_seconds": 150.0,
    "evaluation_seconds": 40.0,
    "denoiser_forwards": 70_000,
    "carried_bytes": 400_000,
}
COLOURS = {"red": (205, 52, 48), "green": (60, 150, 80), "blue": (52, 92, 200), "purple": (128, 70, 170)}
ORACLES = ["joint"]
SHAPES = ["circle", "square", "triangle", "ring"]


def write_run(
    folder: Path,
    *,
    method: str = "naive",
    tasks: int = 3,
    keep: float = 0.35,
    prompts: int = 24,
    pixels: int = 64,
    updates: int = 60,
    calibrated: bool = True,
    status: str = "complete",
    seed: int = 0,
    label: str | None = None,
    sequence: str = "shapes-ril",
    tuner: str = "draft",
    **info: Any,
) -> Path:
    """Write a run of `tasks` tasks that keeps the share `keep` of an earlier reward at each later task.

    The last of three steps is collapsed where `keep` is 0.1 or less.
    """
    rng = np.random.default_rng((seed, *method.encode("utf-8", "replace")))
    rewards = [REWARDS[j % 3] + ("" if j < 3 else f"_{j}") for j in range(tasks)]
    normalised = np.zeros((tasks + 1, tasks))
    for i in range(1, tasks + 1):
        for j in range(tasks):
            gain = 1.1 - 0.4 * keep if i == j + 1 else normalised[i - 1, j] * keep if i > j + 1 else -0.12 * i
            normalised[i, j] = gain + 0.02 * rng.standard_normal()
    captions = _captions(prompts)
    folder.mkdir(parents=True)
    _images(folder, captions, tasks, 1.0 - keep, pixels, seed)
    matrix, scores = _scores(normalised, rewards, captions, 1.0 - keep, rng)
    matrix.to_csv(folder / "matrix.csv")
    scores.to_parquet(folder / "scores.parquet")
    _json(folder / "prompts.json", [{"prompt_id": p, "prompt": text} for p, text in captions.items()])
    _json(folder / "metrics.json", _metrics(normalised, rewards, captions, 1.0 - keep, calibrated))
    _json(folder / "run.json", _info(method, label, sequence, tuner, rewards, status, seed) | info)
    with (folder / "log.jsonl").open("w") as file:
        for task, reward in enumerate(rewards, 1):
            for update in range(updates):
                score = 5.0 + (1 - np.exp(-update / 20)) + 0.15 * rng.standard_normal()
                line = {"task": task, "update": update, "reward": reward, "score": score, "loss": -score}
                file.write(json.dumps(line | {"penalty": 0.0, "grad_norm": 0.4, "seconds": 0.9}) + "\n")
    return folder


def _captions(n: int) -> dict[str, str]:
    names = list(COLOURS)
    return {
        f"{i:03d}": f"a {'small' if i % 3 else 'large'} {names[i % 4]} {SHAPES[i // 4 % 4]} on a plain "
        f"{names[(i + 1 + i // 8) % 4]} background"
        for i in range(n)
    }


def _images(folder: Path, captions: dict[str, str], tasks: int, drift: float, pixels: int, seed: int) -> None:
    for step in range(tasks + 1):
        images = folder / f"step-{step}" / "images"
        images.mkdir(parents=True)
        for i, (prompt_id, caption) in enumerate(captions.items()):
            words = caption.split()
            amount = min(drift * step * (0.25 + 0.08 * (i * 7 % 11)), 1.0)
            front = _mix(COLOURS[words[2]], (235, 120, 30), amount)
            back = _mix(_mix(COLOURS[words[-2]], (255, 255, 255), 0.55), (250, 205, 120), amount)
            large = Image.new("RGB", (256, 256), back)
            draw = ImageDraw.Draw(large)
            for at in range(0, 256, 32):  # stripes, as a page's weight is that of images with texture
                draw.rectangle((at, 0, at + 15, 255), fill=_mix(back, (90, 90, 90), 0.15 + 0.05 * (i % 4)))
            half = (90 if words[1] == "large" else 52) * (1 + 0.3 * amount)
            box = (128 - half, 120 - half, 128 + half, 120 + half)
            if words[3] == "circle":
                draw.ellipse(box, fill=front)
            elif words[3] == "ring":
                draw.ellipse(box, outline=front, width=22)
            elif words[3] == "square":
                draw.rectangle(box, fill=front)
            else:
                draw.polygon([(128, box[1]), (box[0], box[3]), (box[2], box[3])], fill=front)
            small = np.asarray(large.resize((pixels, pixels), Image.Resampling.LANCZOS)).astype(float)
            small += np.random.default_rng((step, i, seed)).normal(0, 5, small.shape)
            Image.fromarray(small.clip(0, 255).astype(np.uint8)).save(images / f"{prompt_id}-0.png")


def _mix(a: tuple[int, ...], b: tuple[int, ...], amount: float) -> tuple[int, ...]:
    return tuple(round(x + (y - x) * amount) for x, y in zip(a, b, strict=True))


def _scores(
    normalised: np.ndarray,
    rewards: list[str],
    captions: dict[str, str],
    drift: float,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    columns = [*rewards, *PROBES]
    rows = []
    for step, values in enumerate(normalised):
        probes = [0.28 - 0.01 * step, 0.97 - 0.08 * drift * step]
        means = [
            5.2 + 0.8 * values[j] if j != 1 else -31.0 + 6.0 * values[j] for j in range(len(rewards))
        ] + probes
        for name, mean in zip(columns, means, strict=True):
            for prompt_id in captions:
                spread = 0.01 if name in PROBES else 0.1
                score = mean + spread * abs(mean) * rng.standard_normal()
                rows.append((step, name, prompt_id, 0, score, name in rewards))
    scores = pd.DataFrame(rows, columns=["step", "reward", "prompt_id", "sample", "score", "trained"])
    return scores.pivot_table(index="step", columns="reward", values="score")[columns], scores


def _metrics(
    normalised: np.ndarray, rewards: list[str], captions: dict[str, str], drift: float, calibrated: bool
) -> dict[str, Any]:
    t = len(rewards)
    worst = [
        {
            "step": step,
            "prompt_id": p,
            "prompt": captions[p],
            "ssim_to_0": 1 - drift * step * (0.16 + 0.008 * (i * 7 % 11)),
        }
        for step in range(1, t + 1)
        for i, p in enumerate(captions)
        if i * 7 % 11 > 6
    ]
    last = normalised[-1]
    learned = np.diagonal(normalised[1:])

    def continual(scale: float) -> dict[str, Any]:
        return {
            "FINAL": scale * last.mean(),
            "WORST": scale * last.min(),
            "AVG-INC": scale * 0.5,
            "LEARN": scale * float(np.mean(learned - np.diagonal(normalised[:-1]))),
            "BWT": scale * float((last - learned)[:-1].mean()) if t > 1 else None,
            "FWT": scale * -0.1 if t > 1 else None,
            "FORGET": scale * float((learned - last)[:-1].mean()) if t > 1 else None,
            "FORGET_floor": scale * 0.03 if t > 1 else None,
            "N": (scale * normalised).tolist(),
            "effect": (scale * np.diff(normalised, axis=0)).tolist(),
        }

    def anytime(scale: float) -> dict[str, float]:
        return {"AAA": scale * 0.4, "MINPERF": scale * -0.2, "WC-ACC": scale * 0.1}

    return {
        "schema_version": 1,
        "rewards": rewards,
        "probes": PROBES,
        "units": {**{r: UNITS[r.split("_")[0]] for r in rewards}, **{p: UNITS[p] for p in PROBES}},
        "directions": dict.fromkeys([*rewards, *PROBES], 1),
        "continual": {"raw": None, "z": continual(3.1), "normalised": continual(1.0) if calibrated else None},
        "retain": {r: float(last[j] / learned[j]) for j, r in enumerate(rewards)},
        "retain_excluded": [],
        "fidelity": {
            "convention": {
                "extractor": "attributes",
                "dimension": 64,
                "n": len(captions),
                "resize": None,
                "reference": "step 0",
            },
            "floor": 1.62,
            "kid_floor": 0.001,
            "biased": True,
            "steps": [
                {"step": s, "fid": 1.62 + 14.0 * drift * s, "kid": 0.001 + 0.2 * drift * s, "kid_sd": None}
                for s in range(t + 1)
            ],
        },
        "structure": {
            "convention": {
                "ssim": "Wang 2004, 11x11 Gaussian, data_range 1",
                "lpips": {"extractor": "6 blocks", "weights": "equal"},
            },
            "floor": {"ssim": 0.21, "ms_ssim": 0.2, "lpips": 0.5, "edges": 0.3, "cosine": 0.8},
            "steps": [
                {"step": s}
                | {f"{name}_to_0": 1 - 0.2 * drift * s for name in ("ssim", "ms_ssim", "edges", "cosine")}
                | {f"{name}_to_previous": 1 - 0.2 * drift for name in ("ssim", "ms_ssim", "edges", "cosine")}
                | {"lpips_to_0": 0.1 * drift * s, "lpips_to_previous": 0.1 * drift}
                for s in range(1, t + 1)
            ],
            "worst": worst,
        },
        "diversity": {
            "convention": {"extractor": "attributes"},
            "steps": [
                {"step": s, "vendi": 1.9 - 0.1 * drift * s, "pairwise": 0.3 - 0.02 * drift * s}
                for s in range(t + 1)
            ],
        },
        "drift": {
            "convention": {"drift": "path KL in nats", "rollouts": 32},
            "steps": [
                {"step": s, "to_0": 40.0 * drift * s, "to_0_se": 2.0}
                | {"to_previous": 40.0 * drift, "to_previous_se": 2.0}
                for s in range(1, t + 1)
            ],
        },
        "anytime": {"every": 10, "z": anytime(3.1), "normalised": anytime(1.0) if calibrated else None},
        "resources": RESOURCES | {"carried_bytes": 400_000 * (1 + round(8 * abs(drift - 0.65)))},
        "calibration": {"file": "shapes-ril.calibration.json", "sha256": "c" * 64} if calibrated else None,
        "notes": [],
    }


def _info(
    method: str, label: str | None, sequence: str, tuner: str, rewards: list[str], status: str, seed: int
) -> dict[str, Any]:
    steps = [
        {
            "step": i,
            "reward": rewards[i - 1] if i else None,
            "updates": 60 if i else 0,
            "consolidation_updates": 0,
            "train_seconds": 48.2 * i if i else None,
            "evaluation_seconds": 21.4,
            "denoiser_forwards": 4_000 + 400 * len(method),
            "denoiser_backwards": 480 * i,
            "reward_calls": 480 * i,
            "peak_memory_bytes": 1_240_000_000,
            "trainable_bytes": 403_456 if i else None,
            "stored_bytes": 403_456 * i,
            "carried_bytes": 806_912 * i,
        }
        for i in range(len(rewards) + 1)
    ]
    return {
        "schema_version": 1,
        "status": status,
        "failure": {"class": "NumericalError", "message": "loss is not finite\n  hint: a lower one"}
        if status == "failed"
        else None,
        "sequence": {
            "name": sequence,
            "version": 1,
            "model": "shapes-64",
            "tasks": [{"reward": r} for r in rewards],
        },
        "sequence_sha256": "a" * 64,
        "order": "given",
        "method": {
            "name": method,
            "label": label,
            "options": {"strength": 0.001},
            "resolved": {"strength": _strength(label), "space": "x0"},
            "file_sha256": "b" * 64,
            "oracle": method in ORACLES,
            "doc": "Tune on one reward after another and hope.",
        },
        "tuner": {"name": tuner, "options": {"k": 1}},
        "tuners": [{"name": tuner, "resolved": {"k": 1, "cap": None}} for _ in rewards],
        "seed": seed,
        "device": "cpu",
        "official": True,
        "versions": {"python": "3.11.2", "torch": "2.9.0", "diffusers": "0.36.0"},
        "git": {"revision": "0123456789abcdef", "dirty": False},
        "hardware": {"cpu": "a processor", "cores": 2, "threads": 1, "gpu": None},
        "weights": {"unet": "d" * 64},
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:14:05+00:00",
        "steps": steps,
        "cost": {
            "training_seconds": 289.2,
            "training_bare_seconds": 270.0,
            "training_ratio": 1.071,
            "run_seconds": 402.0,
            "run_bare_seconds": 340.0,
            "run_ratio": 1.182,
        },
    }


def _strength(label: str | None) -> float:
    """The strength that a label such as "strength=10" states, else the default."""
    label = label or ""
    return float(label.removeprefix("strength=")) if label.startswith("strength=") else 0.001


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


METHODS = {"naive": 0.35, "ewc": 0.4, "replay": 0.55, "rid": 0.62, "joint": 0.95}  # the share that each keeps


def write_runs(
    out: Path,
    seeds: int = 10,
    sequences: Sequence[str] = ("shapes-ril", "shapes-long"),
    tuners: Sequence[str] = ("draft", "refl"),
    methods: Sequence[str] = tuple(METHODS),
    **options: Any,
) -> Path:
    """A run for every sequence, tuner, method and seed: 200 by default."""
    for sequence, tuner, method, seed in product(sequences, tuners, methods, range(seeds)):
        keep = METHODS[method] - 0.04 * (tuner == "refl") + 0.03 * float(np.sin(7 * seed + len(method)))
        folder = out / sequence / "given" / method / tuner / f"seed-{seed}"
        write_run(folder, method=method, keep=keep, seed=seed, sequence=sequence, tuner=tuner, **options)
    return out
