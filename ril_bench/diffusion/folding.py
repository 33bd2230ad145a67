"""Adapters folded into the weights: frozen twins that stand in for the layers, which are never touched themselves."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ril_bench.errors import UserError

PREFIX = "unet."  # of every key in a file that diffusers' save_lora_weights writes
Part = tuple[float, Tensor, Tensor]  # scaling, A (rank, in), B (out, rank)


@contextmanager
def twins(
    unet: nn.Module, parts: Mapping[str, Sequence[Part]], deltas: Mapping[str, Tensor]
) -> Iterator[None]:
    """Within it each layer named has the weight W + sum scaling B A + delta; nothing else of `unet` changes.

    Args:
        parts: {layer: what is folded into it}, of every LoRA layer, so that none acts; a layer without parts and
            delta has the base's own weight.
        deltas: {layer: (out, in)} on top.
    """
    # All twins are made before any is put in place: what fails there leaves the model as it was.
    slots: list[tuple[dict[str, nn.Module | None], str, nn.Module, nn.Module]] = []
    for path, part in parts.items():
        parent, _, child = path.rpartition(".")
        layer = unet.get_submodule(path)
        base = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
        assert isinstance(base, nn.Linear), "adapters sit on linear layers"
        twin = _twin(base, part, deltas.get(path))
        slots.append((unet.get_submodule(parent)._modules, child, layer, twin))
    try:
        for modules, child, _, stand_in in slots:
            modules[child] = stand_in
        yield
    finally:
        for modules, child, layer, _ in slots:
            modules[child] = layer


def parts_of_file(
    unet: nn.Module, adapted: Collection[str], state: Mapping[str, Tensor]
) -> dict[str, list[Part]]:
    """The parts that a LoRA file's tensors stand for; none for a layer in `adapted` that it does not name.

    Raises UserError where the file is not of this denoiser.
    """
    parts: dict[str, list[Part]] = {path: [] for path in adapted}
    layers = {
        path: module for path, module in unet.named_modules() if isinstance(module, nn.Linear | LoraLayer)
    }
    for path in {key.removeprefix(PREFIX).rpartition(".lora_")[0]: None for key in state}:
        down, up = (state.get(f"{PREFIX}{path}.{factor}.weight") for factor in ("lora_A", "lora_B"))
        layer = layers.get(path)
        if (
            layer is None
            or down is None
            or up is None
            or (up.shape[0], down.shape[1]) != (layer.out_features, layer.in_features)
            or up.shape[1] != down.shape[0]
        ):
            raise UserError(
                f"these LoRA weights do not fit the denoiser at {path!r}",
                hint="load them into the model that they were made with",
            )
        parts[path] = [(1.0, down, up)]
    return parts


@torch.no_grad()
def _twin(base: nn.Linear, parts: Sequence[Part], delta: Tensor | None) -> nn.Linear:
    """A layer that shares all with `base` but its weight; `base` itself where nothing is to be added."""
    if not parts and delta is None:
        return base
    weight = base.weight.float() if delta is None else base.weight + delta.to(base.weight.device)
    for scaling, down, up in parts:
        weight = torch.addmm(weight, up.to(weight), down.to(weight), alpha=scaling)
    twin = copy.copy(base)
    twin._parameters = dict(base._parameters)
    twin.weight = nn.Parameter(weight.to(base.weight.dtype), requires_grad=False)
    return twin
