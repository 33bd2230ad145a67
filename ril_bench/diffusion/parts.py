"""Loads the parts of a pipeline that have weights: each gets all of its weights from its files, or is refused.

Left to themselves, diffusers and transformers give a weight that the files lack random values, after a warning.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import diffusers
import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from ril_bench.errors import UserError

LIBRARIES = {"diffusers": diffusers, "transformers": transformers}
PREFIX = "text_model."
WHOLE, SHARDS = "model.safetensors", "model-*-of-*.safetensors"


def load_part(folder: Path, kind: tuple[str, str], dtype: torch.dtype) -> nn.Module:
    """The part of a pipeline in a folder. kind: its library and its class, as in model_index.json.

    Raises UserError where no library has such a class, or the files lack a weight or have it in another shape.
    """
    library, name = kind
    if (cls := getattr(LIBRARIES.get(library), name, None)) is None:
        raise UserError(
            f"no part of the kind {library}.{name} could be loaded",
            where=str(folder),
            hint="see whether model_index.json is right, or try newer versions of diffusers and transformers",
        )
    part, found = cls.from_pretrained(
        str(folder), torch_dtype=dtype, use_safetensors=True, output_loading_info=True
    )
    if isinstance(part, CLIPTextModel | CLIPTextModelWithProjection):
        _fill_clip(part, folder)
    else:
        _refuse_missing(found["missing_keys"], folder)
    return part


def _fill_clip(model: nn.Module, folder: Path) -> None:
    """Gives a CLIP text encoder the weights in its folder, under the names that this version of transformers uses.

    Version 5 of transformers writes `encoder.layers.0...` where version 4 writes `text_model.encoder.layers.0...`.
    Version 4 does not know the shorter names, and would leave those weights random.
    """
    files = [folder / WHOLE] if (folder / WHOLE).exists() else sorted(folder.glob(SHARDS))
    stored = {key.removeprefix(PREFIX): value for file in files for key, value in load_file(file).items()}
    wanted = dict(model.named_parameters())
    state = {key: stored[short] for key in wanted if (short := key.removeprefix(PREFIX)) in stored}
    _refuse_missing(
        (key for key, value in wanted.items() if key not in state or state[key].shape != value.shape), folder
    )
    with torch.no_grad():
        for key, value in wanted.items():
            value.copy_(state[key])


def _refuse_missing(keys: Iterable[str], folder: Path) -> None:
    if keys := sorted(keys):
        raise UserError(
            f"{len(keys)} weights of the {folder.name} are missing or have another shape: {', '.join(keys[:3])}",
            where=str(folder),
            hint="get the model again, as the library that saved it wrote it",
        )
