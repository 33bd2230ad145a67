"""CLIP text encoders get all of their weights, whichever version of transformers wrote them and reads them.

Version 5 of transformers writes `encoder.layers.0...` where version 4 writes `text_model.encoder.layers.0...`.
Version 4 does not know the shorter names: it would go on with random weights, after a warning.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from ril_bench.errors import UserError

PREFIX = "text_model."
WHOLE, SHARDS = "model.safetensors", "model-*-of-*.safetensors"


def fill_clip(model: nn.Module, folder: Path) -> None:
    """Gives a CLIP text encoder the weights in its folder, under the names that this version of transformers uses.

    Raises UserError where a weight is missing, or has another shape.
    """
    files = [folder / WHOLE] if (folder / WHOLE).exists() else sorted(folder.glob(SHARDS))
    stored = {key.removeprefix(PREFIX): value for file in files for key, value in load_file(file).items()}
    wanted = dict(model.named_parameters())
    state = {key: stored[short] for key in wanted if (short := key.removeprefix(PREFIX)) in stored}
    unfit = [key for key, value in wanted.items() if key not in state or state[key].shape != value.shape]
    if unfit:
        raise UserError(
            f"{len(unfit)} weights of the text encoder are missing or have another shape: {', '.join(unfit[:3])}",
            where=str(folder),
            hint="get the model again, as the library that saved it wrote it",
        )
    with torch.no_grad():
        for key, value in wanted.items():
            value.copy_(state[key])
