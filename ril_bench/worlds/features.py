"""The feature networks that metrics need.

The world of a model names them. None of them is the encoder of a reward.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ril_bench.errors import RilError
from ril_bench.worlds.missing import note
from ril_bench.worlds.table import FeatureNetwork, World

T = TypeVar("T")


class Extractor(Protocol):
    """A network that computes features (N, d) of 8-bit images (N, 3, H, W).

    `convention` names its weights and its resize.
    """

    @property
    def convention(self) -> dict[str, Any]: ...

    def __call__(self, images: Tensor) -> NDArray[np.float64]: ...


class Maps(Protocol):
    """A network's feature maps (N, C, H, W), finest first, of 8-bit images (N, 3, H, W).

    `weights` holds one tensor (C,) for each layer: the weights of the channels in a perceptual distance. None means
    that all weights are equal.
    """

    @property
    def convention(self) -> dict[str, Any]: ...

    @property
    def weights(self) -> list[Tensor] | None: ...

    def __call__(self, images: Tensor) -> list[Tensor]: ...


@dataclass(frozen=True)
class Features:
    """The feature networks of a world. A network that is missing on this machine is None.

    Attributes:
        distribution: for distances between sets of images: FID and KID.
        content: for the content of an image: feature cosine and diversity. If it is not the network `distribution`, it
            is also used for a second Frechet distance.
        perceptual: for LPIPS.
    """

    distribution: Extractor | None
    content: Extractor | None
    perceptual: Maps | None


def load(world: World, notes: list[str]) -> Features:
    """The networks for a world's images; adds a note with the reason for each missing one."""
    module, _, name = world.extractors.partition(":")
    load_all: Callable[[list[str]], Features] = getattr(importlib.import_module(module), name)
    return load_all(notes)


def or_note(load_one: Callable[[], T], network: FeatureNetwork, notes: list[str]) -> T | None:
    """Returns `load_one()`; if it raises, returns None and adds a note on the missing metrics."""
    try:
        return load_one()
    except RilError as error:
        notes.append(note(network, error))
        return None
