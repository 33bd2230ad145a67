"""Reads the images in the folder of a run."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from ril_bench.errors import UserError


def decoded(data: bytes, path: Path) -> Image.Image:
    """The image in the bytes of a run's PNG file, or of an entry's WebP.

    Args:
        path: the file, for the message.

    Raises UserError where the bytes are not a whole image.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "WEBP"]) as image:
            image.load()
            return image
    except Exception as error:  # PIL raises errors of many kinds for a broken file
        raise unusable(path, error) from error


def read_image(path: Path) -> Image.Image:
    """An image of a run. Raises UserError where it cannot be read."""
    return decoded(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """The bytes of an image of a run. Raises UserError where they cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unusable(path, error.strerror or error) from error


def unusable(path: Path, why: object) -> UserError:
    """The error for an image of a run that does not fit."""
    return UserError(
        f"an image of this run cannot be used: {why}"[:300],
        where=str(path),
        hint="restore it, or compute it again: the command of the run (ril-bench run ...) with --repair",
    )
