"""What images are measured with: never an encoder that a reward uses. Which networks, a model's world says."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ril_bench.errors import RilError
from ril_bench.worlds.table import World

T = TypeVar("T")


class Extractor(Protocol):
    """A network that makes features (N, d) of 8-bit images (N, 3, H, W); `convention` says which and how."""

    @property
    def convention(self) -> dict[str, Any]: ...

    def __call__(self, images: Tensor) -> NDArray[np.float64]: ...


class Maps(Protocol):
    """A network's feature maps (N, C, H, W), finest first, of 8-bit images (N, 3, H, W).

    `weights` are what its channels count for in a perceptual distance, (C,) a layer; None where all count alike.
    """

    @property
    def convention(self) -> dict[str, Any]: ...

    @property
    def weights(self) -> list[Tensor] | None: ...

    def __call__(self, images: Tensor) -> list[Tensor]: ...


@dataclass(frozen=True)
class Features:
    """A part is None where its network is not to be had.

    Attributes:
        distribution: for distances between sets of images: FID and KID.
        content: for what an image shows: cosine and diversity; where it is another network than the first, a
            Frechet distance of its own.
        perceptual: for LPIPS.
    """

    distribution: Extractor | None
    content: Extractor | None
    perceptual: Maps | None


def load(world: World, notes: list[str]) -> Features:
    """The networks for a world's images; `notes` is told which cannot be had, and why."""
    module, _, name = world.measures.partition(":")
    load_all: Callable[[list[str]], Features] = getattr(importlib.import_module(module), name)
    return load_all(notes)


def or_note(make: Callable[[], T], figures: str, notes: list[str]) -> T | None:
    """What is made, or None and a note that these figures are missing."""
    try:
        return make()
    except RilError as error:
        what = " ".join(line.strip() for line in str(error).splitlines())
        notes.append(f"no {figures}: {what}")
        return None
