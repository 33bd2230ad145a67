"""Checks from a model's configs whether it can be trained here; loads no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler

from ril_bench.diffusion.families import family_called
from ril_bench.diffusion.model import check_prediction
from ril_bench.diffusion.sampler import DDIM, check_schedule
from ril_bench.errors import UserError


def check_configs(folder: Path, steps: int, eta: float) -> None:
    """Checks the class of a pipeline, its scheduler, and whether the sampler's steps fit the scheduler.

    Args:
        folder: folder of a pipeline in diffusers' format.
        steps: number of steps of the sampler.
        eta: eta of the sampler.

    Raises UserError for the first fault, with the same message as a run.
    """
    index, scheduler = folder / "model_index.json", folder / "scheduler" / "scheduler_config.json"
    family_called(_read(index).get("_class_name"), where=str(index))
    config = _read(scheduler)
    check_schedule(config)
    found = DDIMScheduler.from_config(config)
    check_prediction(found.config["prediction_type"])
    DDIM(found.alphas_cumprod, steps, eta)


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(
            f"this file of the model cannot be read: {error}",
            where=str(file),
            hint="name a folder in which diffusers saved a pipeline",
        ) from error
    return content
