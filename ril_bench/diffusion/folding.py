"""Folds adapters into the weights: frozen copies replace the layers inside a context.

In half precision nothing is added to a weight, as the sum would be rounded. There the layers compute what live adapters
compute, operation by operation, so that calls with and without a gradient agree to the bit. Ratios of probabilities
need that.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ril_bench.errors import UserError

#: scaling, A (rank, in), B (out, rank)
LoraFactors = tuple[float, Tensor, Tensor]


@contextmanager
def folded_layers(
    denoiser: nn.Module, parts: Mapping[str, Sequence[LoraFactors]], deltas: Mapping[str, Tensor]
) -> Iterator[None]:
    """A context in which each layer in `parts` computes (W + sum scaling B A + delta) x + bias.

    Args:
        parts: {layer: factors to fold into it}, for every LoRA layer, so that no adapter is applied. A layer without
            factors and delta has its base weight.
        deltas: {layer: (out, in)}, added on top.
    """
    # Every copy is built before the first one is put in place, so that a failure leaves the model as it was.
    slots: list[tuple[dict[str, nn.Module | None], str, nn.Module, nn.Module]] = []
    for path, part in parts.items():
        parent, _, child = path.rpartition(".")
        layer = denoiser.get_submodule(path)
        base = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
        assert isinstance(base, nn.Linear), "adapters are on linear layers"
        changed = _Beside if base.weight.dtype.itemsize < 4 else _with_weight
        copy_of_base = changed(base, part, deltas.get(path)) if part or path in deltas else base
        slots.append((denoiser.get_submodule(parent)._modules, child, layer, copy_of_base))
    try:
        for modules, child, _, folded in slots:
            modules[child] = folded
        yield
    finally:
        for modules, child, layer, _ in slots:
            modules[child] = layer


def parts_of_file(
    denoiser: nn.Module, adapted: Collection[str], state: Mapping[str, Tensor], prefix: str
) -> dict[str, list[LoraFactors]]:
    """The factors in a LoRA file's tensors, by layer; a layer of `adapted` without factors has an empty list.

    Raises UserError where the tensors do not fit the denoiser.
    """
    parts: dict[str, list[LoraFactors]] = {path: [] for path in adapted}
    layers = {
        path: module for path, module in denoiser.named_modules() if isinstance(module, nn.Linear | LoraLayer)
    }
    for path in {key.removeprefix(prefix).rpartition(".lora_")[0]: None for key in state}:
        down, up = (state.get(f"{prefix}{path}.{factor}.weight") for factor in ("lora_A", "lora_B"))
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
                hint="load them into the model that they were trained with",
            )
        parts[path] = [(1.0, down, up)]
    return parts


def scaled(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """A LoRA file's tensors with `scale` times their change of the weights: B is scaled, A is kept."""
    return {key: scale * value if ".lora_B." in key else value for key, value in state.items()}


@torch.no_grad()
def _with_weight(base: nn.Linear, parts: Sequence[LoraFactors], delta: Tensor | None) -> nn.Linear:
    """A layer that shares everything with `base` except its weight."""
    weight = base.weight.float() if delta is None else base.weight + delta.to(base.weight.device)
    for scaling, down, up in parts:
        weight = torch.addmm(weight, up.to(weight), down.to(weight), alpha=scaling)
    layer = copy.copy(base)
    layer._parameters = dict(base._parameters)
    layer.weight = nn.Parameter(weight.to(base.weight.dtype), requires_grad=False)
    return layer


class _Beside(nn.Module):
    """A layer in half precision, and beside it its changes: W x + bias + sum scaling B (A x) + delta x.

    The factors are float32 and are applied as PEFT applies them; a delta is applied in the layer's own format.
    """

    def __init__(self, base: nn.Linear, parts: Sequence[LoraFactors], delta: Tensor | None):
        super().__init__()
        self.base = base
        self._parts = [
            (scaling, down.detach().to(base.weight.device), up.detach().to(base.weight.device))
            for scaling, down, up in parts
        ]
        self._delta = None if delta is None else delta.detach().to(base.weight)

    def forward(self, x: Tensor) -> Tensor:
        out = self.base(x)
        dtype = out.dtype
        for scaling, down, up in self._parts:
            out = out + F.linear(F.linear(x.to(down.dtype), down), up) * scaling
        if self._delta is not None:
            out = out + F.linear(x, self._delta)
        return out.to(dtype)
