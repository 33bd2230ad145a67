"""Measures what the layers of a denoiser get as input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def second_moments(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """A context that yields {layer: sum of x x^T, (in, in), fp32} over the inputs x (.., in) of the layers so far.

    A layer that was not called is not in the dict.
    """
    found: dict[str, Tensor] = {}

    def add(path: str, x: Tensor) -> None:
        rows = x.detach().flatten(0, -2).float()
        found[path] = found.get(path, torch.zeros((), device=x.device)) + rows.T @ rows

    def hook(path: str) -> Any:
        return lambda module, inputs: add(path, inputs[0])

    handles = [layer.register_forward_pre_hook(hook(path)) for path, layer in layers.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
