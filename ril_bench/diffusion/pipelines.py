"""Loads the pipeline in a folder. Only safetensors in full precision are read; nothing is unpickled."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTextModel, CLIPTextModelWithProjection
from transformers.utils import logging as transformers_logging

from ril_bench.diffusion.clip_weights import fill_clip
from ril_bench.diffusion.configs import absent_parts, check_folder
from ril_bench.errors import UserError
from ril_bench.machine.compute import Compute


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
        with warnings.catch_warnings():
            # Newer versions warn of torch_dtype, whose new name older ones do not know.
            warnings.simplefilter("ignore", FutureWarning)
            pipe = family.pipeline.from_pretrained(
                str(folder),
                torch_dtype=dtypes,
                use_safetensors=True,
                **family.without,
                **dict.fromkeys(absent_parts(folder, family)),
            )
        for name in family.weights:
            if isinstance(part := getattr(pipe, name), CLIPTextModel | CLIPTextModelWithProjection):
                fill_clip(part, folder / name)
        return pipe
    except UserError:
        raise
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # the libraries raise errors of many kinds for files that do not fit
        raise UserError(
            f"no diffusion model could be loaded: {error}",
            where=str(folder),
            hint="name a folder that a diffusers pipeline was saved in, or a hub id",
        ) from error
