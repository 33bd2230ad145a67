"""Image sets, for tuners that learn from images: sets of the shapes world, or a folder.

A reference is one of

- a shipped set: shapes/aesthetic or shapes/preference. Its image for a prompt is the best of a few renders,
  by a stated taste;
- a folder of images with their prompts, as `datasets` reads it: image files, and a metadata.csv or metadata.jsonl
  with the columns file_name and prompt (or text, or caption).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ril_bench.errors import UserError, nearest

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from ril_bench.draws import Draws

SHIPPED = ("shapes/aesthetic", "shapes/preference")
METADATA = ("metadata.csv", "metadata.jsonl")


class Images(Protocol):
    """A source of images for tuners that learn from images."""

    def of(self, prompts: list[str], draws: Draws) -> tuple[Tensor, list[str]]:
        """For N prompts: N images (N, 3, H, W) in [0, 1], and one prompt for each image."""


def locate_images(reference: str) -> Path | None:
    """The folder that a reference names, or None for a shipped set. Loads nothing.

    Raises UserError where there is no such set.
    """
    if reference in SHIPPED:
        return None
    folder = Path(reference).expanduser()
    if not any((folder / name).is_file() for name in METADATA):
        raise UserError(
            f"no image set is called {reference!r}",
            where="tuner.images",
            hint=f"{nearest(reference, SHIPPED)} Or use a folder of images with a {' or '.join(METADATA)}.",
        )
    return folder


def load_images(reference: str) -> Images:
    """The set that a reference names. Raises UserError where it is missing or has no prompts."""
    folder = locate_images(reference)
    if folder is None:
        from ril_bench.worlds.shapes.gallery import Gallery

        return Gallery(reference.removeprefix("shapes/"))
    from datasets import load_dataset

    from ril_bench.data.prompts import text_column

    table = load_dataset("imagefolder", data_dir=str(folder), split="train")
    return Folder(table, text_column(table, reference))


class Folder:
    """A folder of images with prompts. `of` draws rows at random and ignores the given prompts."""

    def __init__(self, table: Dataset, column: str):
        self._table, self._column = table, column

    def of(self, prompts: list[str], draws: Draws) -> tuple[Tensor, list[str]]:
        rows = [self._table[int(stream.integers(len(self._table)))] for stream in draws.streams("picture")]
        import torch  # a local import, so that reading a sequence does not import torch

        images = [np.asarray(row["image"].convert("RGB"), np.float32) / 255 for row in rows]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), [row[self._column] for row in rows]
