"""metrics.json from what a run folder stores: the figures of metrics.md, without the model that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ril_bench import features, registry
from ril_bench.errors import UserError
from ril_bench.evaluation import FID_REFERENCE, PICTURES
from ril_bench.metrics import continual as c
from ril_bench.metrics.frechet import biased, frechet_distance
from ril_bench.metrics.structure import feature_cosine, ssim
from ril_bench.rewards.base import Reward
from ril_bench.spec import Calibration
from ril_bench.spec import Sequence as SequenceSpec
from ril_bench.store import RunFolder

SCHEMA_VERSION = 1
WORST_SHOWN = 8
SSIM_CONVENTION = "Wang 2004: RGB, Gaussian window 11 (sigma 1.5), data_range 1, outer 5 pixels not scored"


def score_run(path: Path) -> dict[str, Any]:
    """The figures of a run folder, from its scores and pictures; writes metrics.json and returns it.

    Works on an unfinished run too, on the steps that are complete: the continual block then needs more rows, and
    is null.
    """
    folder = RunFolder(path)
    run = folder.read_run()
    sequence = SequenceSpec.model_validate(run["sequence"])
    if not (path / "scores.parquet").exists():
        raise UserError("this run has no scores yet", where=str(path), mend="run it: ril-bench run ...")
    scores = pd.read_parquet(path / "scores.parquet")
    steps = sorted(scores["step"].unique().tolist())
    names, probes = sequence.order, sequence.probes
    classes = {name: registry.load("reward", reference) for name, reference in sequence.rewards.items()}
    kept = run["calibration"]
    normal = scale(kept and Calibration.model_validate(kept["content"]), names)
    notes: list[str] = []
    if normal is None:
        notes.append(
            "no calibration for these settings: figures in deviations over prompts (z), not normalised"
        )
    metrics = {
        "schema_version": SCHEMA_VERSION,
        "rewards": names,
        "probes": probes,
        "units": {name: cls.unit for name, cls in classes.items()},
        "directions": {name: cls.direction for name, cls in classes.items()},
        **_continual(scores, {name: classes[name] for name in names}, normal, notes),
        **_pictures(path, steps, sequence, notes),
        "resources": _resources(run),
        "calibration": {key: kept[key] for key in ("file", "sha256")} if normal else None,
        "notes": notes,
    }
    folder.write_json("metrics.json", metrics)
    return metrics


def scale(calibration: Calibration | None, names: Sequence[str]) -> c.Scale | None:
    """The scale of N for these tasks; None where there is no calibration, or none of one of them.

    Raises UserError if a task cannot be learned, by its calibration.
    """
    entries = {} if calibration is None else calibration.rewards
    if any(name not in entries or entries[name].u is None for name in names):
        return None
    return c.Scale.from_calibration({name: entries[name].model_dump() for name in names}, names)


def score_array(scores: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    """(rows, T, P): the score of each step, reward and prompt, its samples averaged."""
    means = scores.groupby(["step", "reward", "prompt_id"])["score"].mean()
    table = means.unstack("prompt_id").sort_index()
    steps = table.index.get_level_values("step").unique()
    return np.stack([table.loc[[(step, name) for name in names]].to_numpy() for step in steps])


def _continual(
    scores: pd.DataFrame,
    rewards: Mapping[str, type[Reward]],
    normal: c.Scale | None,
    notes: list[str],
) -> dict[str, Any]:
    names, directions = list(rewards), [cls.direction for cls in rewards.values()]
    cells = score_array(scores, names)
    if len(cells) != len(names) + 1:
        notes.append(f"{len(cells)} of {len(names) + 1} steps are there: the continual figures need them all")
        none = dict.fromkeys(("raw", "z", "normalised"))
        return {"continual": none, "retain": dict.fromkeys(names), "retain_excluded": []}
    plain = c.Scale.from_row_0(names, directions, cells[0])
    raw = np.asarray(directions)[:, None] * cells
    blocks: dict[str, Any] = {"raw": c.continual(raw.mean(axis=2), raw), "z": _block(plain.z(cells))}
    blocks["normalised"] = _block(normal.normalise(cells)) if normal else None
    if len({cls.unit for cls in rewards.values()}) > 1:
        # A mean over rewards of different units means nothing; the matrices stay, column by column.
        blocks["raw"] = {k: v if isinstance(v, list) else None for k, v in blocks["raw"].items()}
    kept = c.retain(cells, directions)
    return {
        "continual": blocks,
        "retain": dict(zip(names, kept.values.tolist(), strict=True)),
        "retain_excluded": [name for name, out in zip(names, kept.excluded, strict=True) if out],
    }


def _block(cells: NDArray[np.float64]) -> dict[str, Any]:
    return c.continual(cells.mean(axis=2), cells)


def read_pictures(folder: Path) -> dict[str, Tensor]:
    """{PROMPT-SAMPLE: 8-bit picture (3, H, W)} of a folder, in the order of their names."""
    found = {}
    for file in sorted(folder.glob("*.png")):
        with Image.open(file) as image:
            found[file.stem] = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    return found


def _pictures(path: Path, steps: list[int], sequence: SequenceSpec, notes: list[str]) -> dict[str, Any]:
    """Fidelity and structure: each step's pictures against step 0, and against the step before."""
    pictures = {step: read_pictures(path / f"step-{step}" / PICTURES) for step in steps}
    names = list(pictures[0])
    if any(list(found) != names for found in pictures.values()):
        raise UserError(
            "the steps hold different pictures", where=str(path), mend="run the same command again"
        )
    stacks = {step: torch.stack(list(found.values())) for step, found in pictures.items()}
    floats = {step: stack.float() / 255 for step, stack in stacks.items()}
    extract = features.extractor(sequence.model)
    if extract is None:
        notes.append(f"no feature extractor for the model {sequence.model}: no FID and no feature cosine")
    seen = {} if extract is None else {step: extract(stack) for step, stack in stacks.items()}
    structure, rows = [], []
    for before, step in pairwise(steps):
        to_0 = ssim(floats[step], floats[0])
        structure.append(
            {
                "step": step,
                "ssim_to_0": to_0.mean(),
                "ssim_to_previous": ssim(floats[step], floats[before]).mean(),
                "cosine_to_0": feature_cosine(seen[step], seen[0]).mean() if seen else float("nan"),
                "cosine_to_previous": feature_cosine(seen[step], seen[before]).mean()
                if seen
                else float("nan"),
            }
        )
        rows += [(step, name.rpartition("-")[0], value) for name, value in zip(names, to_0, strict=True)]
    prompts = {entry["prompt_id"]: entry["prompt"] for entry in RunFolder(path).read_json("prompts.json")}
    convention = {
        "ssim": SSIM_CONVENTION,
        "cosine": extract.convention if extract else None,
        "pairs": len(names),
    }
    return {
        "fidelity": _fidelity(path, seen, extract),
        "structure": {"convention": convention, "steps": structure, "worst": _worst(rows, prompts)},
    }


def _fidelity(
    path: Path, seen: dict[int, NDArray[np.float64]], extract: features.ShapesFeatures | None
) -> dict[str, Any]:
    """FID of each step to step 0's pictures from a SECOND latent seed; its floor is step 0's own."""
    if extract is None:
        return {"convention": None, "floor": None, "biased": False, "steps": []}
    reference = extract(torch.stack(list(read_pictures(path / "step-0" / FID_REFERENCE).values())))
    distances = {step: frechet_distance(found, reference) for step, found in seen.items()}
    return {
        "convention": {
            **extract.convention,
            "n": len(reference),
            "reference": "step 0, a second latent seed; the floor is step 0's first seed against it",
        },
        "floor": distances[0],
        "biased": biased(seen[0], reference),
        "steps": [{"step": step, "fid": value} for step, value in distances.items()],
    }


def _worst(rows: list[tuple[int, str, float]], prompts: Mapping[str, str]) -> list[dict[str, Any]]:
    """The prompts whose pictures changed most from step 0 at the last step, worst first."""
    if not rows:
        return []
    table = pd.DataFrame(rows, columns=["step", "prompt_id", "ssim_to_0"])
    last = table[table["step"] == table["step"].max()]
    means = last.groupby("prompt_id")["ssim_to_0"].mean().sort_values(kind="stable").head(WORST_SHOWN)
    return [
        {"step": int(last["step"].iloc[0]), "prompt_id": name, "prompt": prompts[name], "ssim_to_0": value}
        for name, value in means.items()
    ]


def _resources(run: Mapping[str, Any]) -> dict[str, Any]:
    """Totals of run.json's steps; peaks and sizes are the last step's."""
    steps = run["steps"]
    summed = (
        "train_seconds",
        "evaluation_seconds",
        "denoiser_forwards",
        "denoiser_backwards",
        "reward_calls",
    )
    last = ("peak_memory_bytes", "trainable_bytes", "stored_bytes", "carried_bytes")
    return {key: sum(step[key] for step in steps) for key in summed} | {
        key: steps[-1][key] if steps else None for key in last
    }
