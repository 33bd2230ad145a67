"""The pixels of an image file.

An image is turned as its EXIF data says, laid on white where it is transparent, and brought to the size of the model:
its shorter side is resized (bicubic), and its middle is cropped. Grey images of 16 bits keep their range.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

#: PIL's other formats are rare, and to read some of them it runs other programs
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")


def read_pixels(file: Path, size: tuple[int, int] | None) -> NDArray[np.float32]:
    """(H, W, 3) in [0, 1] of an image file, at `size` (height, width); None keeps the size of the file.

    Raises ValueError for a file that cannot be read as an image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as opened:
                if opened.mode == "I" and opened.format == "TIFF":  # in PNG and PPM it has 16 bits
                    raise ValueError("its levels have 32 bits, and no stated range")
                image = ImageOps.exif_transpose(opened)
                pixels = _pixels(image)
    except Exception as error:  # PIL raises errors of many kinds for a broken file
        raise ValueError(str(error)) from error
    if size is None or pixels.shape[:2] == size:
        return pixels
    return _fitted(pixels, size)


def _pixels(image: Image.Image) -> NDArray[np.float32]:
    """(H, W, 3) in [0, 1] of an image of PIL, of any mode."""
    if image.mode.startswith("I"):  # grey, 16 bits
        grey = np.asarray(image, np.float32)
        if grey.size and not (grey.min() >= 0 and grey.max() <= 65535):
            raise ValueError("its levels are not those of 16 bits")
        if isinstance(clear := image.info.get("transparency"), int):
            grey = np.where(grey == clear, np.float32(65535), grey)
        return np.repeat(grey[..., None] / 65535, 3, axis=2).astype(np.float32)
    if image.mode == "F":
        raise ValueError("its levels are floating point, and have no stated range")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return (np.asarray(image.convert("RGB")) / 255).astype(np.float32)


def _fitted(pixels: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The middle of an image at a size (height, width): the smallest resize that covers it, then a crop."""
    height, width = size
    scale = max(height / pixels.shape[0], width / pixels.shape[1])
    rows, columns = max(height, round(pixels.shape[0] * scale)), max(width, round(pixels.shape[1] * scale))
    planes = [
        Image.fromarray(np.ascontiguousarray(pixels[..., k])).resize(
            (columns, rows), Image.Resampling.BICUBIC
        )
        for k in range(3)
    ]
    top, left = (rows - height) // 2, (columns - width) // 2
    resized = np.stack([np.asarray(plane) for plane in planes], axis=2)
    return resized[top : top + height, left : left + width].clip(0, 1).astype(np.float32)
