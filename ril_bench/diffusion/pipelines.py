"""Loads the pipeline in a folder: which parts are needed, and what can be wrong with their files.

Only safetensors in full precision are read; nothing is unpickled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from ril_bench.diffusion.families import Family, family_called
from ril_bench.errors import UserError
from ril_bench.machine.compute import Compute
from ril_bench.remote.model import weight_files
from ril_bench.remote.weights import refuse_pointer


def load_pipeline(folder: Path, compute: Compute) -> DiffusionPipeline:
    """The pipeline in a folder in diffusers' format.

    Raises UserError where the folder has no pipeline, or one that is not supported or not whole.
    """
    # These progress bars are too short to read, and would disturb the progress bar of the run.
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    family = check_folder(folder)
    dtypes = {"vae": getattr(torch, compute.vae_dtype), "default": getattr(torch, compute.dtype)}
    try:
        return family.pipeline.from_pretrained(
            str(folder), dtype=dtypes, use_safetensors=True, **family.without
        )
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise UserError(
            f"no diffusion model could be loaded: {error}",
            where=str(folder),
            hint="name a folder that a diffusers pipeline was saved in, or a hub id",
        ) from error


def check_folder(folder: Path) -> type[Family]:
    """The family of the pipeline in a folder, after checks that need no weights.

    Raises UserError for the first fault.
    """
    index = folder / "model_index.json"
    family = family_called(read_config(index).get("_class_name"), where=str(index))
    check_betas(folder / "scheduler" / "scheduler_config.json")
    for part in family.weights:
        files = weight_files(folder / part)
        variants = sorted(file.name for file in (folder / part).glob("*.*.safetensors") if file not in files)
        if not files and variants:
            raise UserError(
                f"the weights of {part} are here only as a variant: {variants[0]}",
                where=str(folder / part),
                hint="get the files in full precision, without a variant; --compute dtype=bfloat16 saves memory",
            )
        for file in files:
            refuse_pointer(file)
    return family


def check_betas(file: Path) -> None:
    """Raises UserError where the scheduler of a model has no betas, so that no DDIM sampler fits it."""
    config = read_config(file)
    if "beta_start" in config or config.get("trained_betas"):
        return
    raise UserError(
        f"the scheduler {config.get('_class_name')} of the model has no betas",
        where=str(file),
        hint="choose a model whose scheduler has beta_start, beta_end and prediction_type, as DDIMScheduler has",
    )


def read_config(file: Path) -> dict[str, Any]:
    """The object in a config of a model. Raises UserError where it cannot be read."""
    try:
        content = json.loads(file.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("expected a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"this file of the model cannot be read: {error}",
            where=str(file),
            hint="name a folder in which diffusers saved a pipeline",
        ) from error
    return content
