"""Loads the pipeline in a folder. Only safetensors in full precision are read; nothing is unpickled."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from ril_bench.diffusion.configs import absent_parts, check_folder, read_config
from ril_bench.diffusion.parts import class_of, load_part
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
    absent, index = absent_parts(folder, family), read_config(folder / "model_index.json")
    dtypes = {"vae": getattr(torch, compute.vae_dtype), "default": getattr(torch, compute.dtype)}
    try:
        with warnings.catch_warnings():
            # Newer versions warn of torch_dtype, whose new name older ones do not know.
            warnings.simplefilter("ignore", FutureWarning)
            parts = {
                name: load_part(
                    folder / name,
                    class_of(index[name], name, str(folder)),
                    dtypes.get(name, dtypes["default"]),
                )
                for name in family.weights
                if name not in absent
            }
            return family.pipeline.from_pretrained(
                str(folder), **parts, **family.without, **dict.fromkeys(absent)
            )
    except UserError:
        raise
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # the libraries raise errors of many kinds for files that do not fit
        raise UserError(
            f"no diffusion model could be loaded: {error}",
            where=str(folder),
            hint="get the model again, as diffusers saved it",
        ) from error
