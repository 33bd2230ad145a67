"""Image sets, for tuners that learn from images: sets of the shapes world, or a folder.

A reference is one of

- a set of the shapes world, shapes/REWARD for each of its rewards: its image for a prompt is the best of a few
  renders, by the taste that the reward learned, or else by the reward itself. `shapes` alone stands for the set of
  the task's own reward;
- a folder of images with their prompts: image files, and a metadata.csv or metadata.jsonl with the columns
  file_name and prompt (or text, or caption). The files are PNG, JPEG, WebP, BMP, GIF, TIFF or PPM.

Locating a set imports neither numpy nor torch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ril_bench.data.prompts import text_column
from ril_bench.data.tables import Table, is_text, kind_of, read_table
from ril_bench.errors import UserError, nearest
from ril_bench.storage.files import expanded
from ril_bench.storage.known_digests import file_digest
from ril_bench.worlds.table import SHAPES, rewards_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from ril_bench.draws import Draws

#: stands for the set of the task's own reward
OWN = "shapes"
SHIPPED = (OWN, *(f"{OWN}/{reward}" for reward in sorted(rewards_of(SHAPES))))
METADATA = ("metadata.csv", "metadata.jsonl")
FILE = "file_name"
DECODED = 2_000  # images of a set that are decoded when it is loaded; of a larger set, the headers are read


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
    folder = expanded(reference)
    if not any(os.path.isfile(folder / name) for name in METADATA):
        raise UserError(
            f"no image set is called {reference!r}",
            where="tuner.images",
            hint=f"{nearest(reference, SHIPPED)} Or use a folder of images with a {' or '.join(METADATA)}.",
        )
    return folder


def load_images(reference: str, size: tuple[int, int] | None = None, *, reward: str | None = None) -> Images:
    """The set that a reference names.

    Args:
        size: (height, width) to which images of a folder are brought; None keeps their size, which must be the
            same for all.
        reward: the name of the task's reward, whose set `shapes` stands for.

    Raises UserError where the set is missing, has no prompts, or has an image that cannot be read.
    """
    folder = locate_images(f"{OWN}/{reward}" if reference == OWN else reference)
    if folder is not None:
        return Folder(_rows(folder), size)
    from ril_bench.worlds.shapes.gallery import Gallery

    return Gallery(reward if reference == OWN and reward else reference.removeprefix(f"{OWN}/"))


@dataclass(frozen=True)
class Row:
    """One image of a folder: its file, the digest of its bytes, and its prompt."""

    file: Path
    sha256: str
    prompt: str


class Folder:
    """A folder of images with prompts. `of` draws rows at random and ignores the given prompts."""

    def __init__(self, rows: Sequence[Row], size: tuple[int, int] | None):
        self._rows, self._size = rows, size
        shapes: dict[tuple[int, ...], Path] = {}
        for row in rows[:DECODED]:
            shapes.setdefault(self._image(row).shape, row.file)
        if len(shapes) > 1:
            (a, one), (b, other), *_ = shapes.items()
            raise UserError(
                f"images of two sizes: {one.name} has {a[1]} x {a[0]} pixels, {other.name} {b[1]} x {b[0]}",
                where=str(one.parent),
                hint="give all images one size",
            )

    def of(self, prompts: list[str], draws: Draws) -> tuple[Tensor, list[str]]:
        import numpy as np
        import torch

        chosen = [self._rows[int(stream.integers(len(self._rows)))] for stream in draws.streams("picture")]
        images = np.stack([self._image(row) for row in chosen])
        return torch.from_numpy(images).permute(0, 3, 1, 2), [row.prompt for row in chosen]

    def _image(self, row: Row) -> NDArray[np.float32]:
        """(H, W, 3) in [0, 1]. Raises UserError for an image that cannot be read, or that has changed."""
        from ril_bench.data.pixels import read_pixels

        if file_digest_of(row.file) != row.sha256:
            raise UserError(
                "an image changed during the run",
                where=str(row.file),
                hint="restore it, and run the same command again: the run goes on from its last checkpoint",
            )
        try:
            return read_pixels(row.file, self._size)
        except ValueError as error:
            raise _bad_image(row.file, error) from error


def file_digest_of(file: Path) -> str:
    """The digest of an image. Raises UserError where the file cannot be read."""
    try:
        return file_digest(file)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise _bad_image(file, getattr(error, "strerror", None) or error) from error


def _rows(folder: Path) -> list[Row]:
    file = next(folder / name for name in METADATA if (folder / name).is_file())
    table = read_table(file)
    if FILE not in table.names:
        raise UserError(
            f"no column {FILE}: the columns are {', '.join(table.names) or 'none'}",
            where=str(file),
            hint=f"name the columns {FILE} and prompt",
        )
    names, prompts = table.column(FILE), _prompts(table)
    if not names:
        raise UserError("the image set is empty", where=str(file), hint="write one image a row")
    rows = []
    for number, (name, prompt) in enumerate(zip(names, prompts, strict=True), 1):
        if not (is_text(name) and is_text(prompt)):
            raise UserError(
                f"row {number} has no text for {'the prompt' if is_text(name) else FILE}: "
                + kind_of(prompt if is_text(name) else name),
                where=str(file),
                hint="see whether this is the right column; remove the row, or write a text",
            )
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(
                f"row {number} names a file outside of the folder: {name}"[:200],
                where=str(file),
                hint="put all images of a set into its folder",
            )
        rows.append(Row(folder / name, file_digest_of(folder / name), prompt.strip()))
    return rows


def _prompts(table: Table) -> list[object]:
    others = [name for name in table.names if name != FILE]
    texts = [name for name in table.texts if name != FILE]
    return table.column(text_column(others, texts, str(table.path)))


def _bad_image(file: Path, why: object) -> UserError:
    return UserError(
        f"this image cannot be read: {why}"[:300],
        where=str(file),
        hint="replace the image, or remove its row from the metadata",
    )
