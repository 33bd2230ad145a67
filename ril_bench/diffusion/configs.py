"""Checks from a model's configs whether it can be trained here; loads no weights."""

from __future__ import annotations

from pathlib import Path

from diffusers import DDIMScheduler

from ril_bench.diffusion.families import family_called
from ril_bench.diffusion.model import check_prediction
from ril_bench.diffusion.pipelines import check_betas, read_config
from ril_bench.diffusion.sampler import DDIM, check_schedule


def check_configs(folder: Path, steps: int, eta: float) -> None:
    """Checks the class of a pipeline, its scheduler, and whether the sampler's steps fit the scheduler.

    Args:
        folder: folder of a pipeline in diffusers' format.
        steps: number of steps of the sampler.
        eta: eta of the sampler.

    Raises UserError for the first fault, with the same message as a run.
    """
    index, scheduler = folder / "model_index.json", folder / "scheduler" / "scheduler_config.json"
    family_called(read_config(index).get("_class_name"), where=str(index))
    check_betas(scheduler)
    config = read_config(scheduler)
    check_schedule(config)
    found = DDIMScheduler.from_config(config)
    check_prediction(found.config["prediction_type"])
    DDIM(found.alphas_cumprod, steps, eta)
