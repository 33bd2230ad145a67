"""The weights of a pretrained model, which no adapter holds and nothing may change."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ril_bench.diffusion.model import DiffusionModel

#: a prime: the rows, columns and channels of a weight do not repeat with this period, so that a checksum notices an
#: exchange of its numbers
PERIOD = 1021
#: integers with the size of a number, by its bytes
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
SHOWN = 3  # names in a message


class FrozenWeights:
    """What a model's pretrained weights were at one moment: checksums of all bytes, and torch's counters of changes.

    The counters are compared after each hook, the bytes at each checkpoint. A counter misses changes through `.data`.
    """

    def __init__(self, model: DiffusionModel):
        self._model = model
        named = pretrained_tensors(model)
        self._names, self._sums = list(named), checksums(named.values())
        self._counted = {
            name: t for name, t in named.items() if not t.is_inference()
        }  # others have no counter
        self._versions = self._counts()

    def touched(self) -> list[str]:
        """The names of the tensors that an operation of torch has changed since; takes microseconds."""
        now = self._counts()
        if now == self._versions:
            return []
        pairs = zip(self._counted, self._versions, now, strict=True)
        found = [name for name, before, after in pairs if before != after]
        self._versions = now  # each change is reported once
        return found

    def changed(self) -> list[str]:
        """The names of the tensors whose bytes or formats differ, that are gone, or that train."""
        named = pretrained_tensors(self._model)
        now = dict(zip(named, checksums(named.values()), strict=True))
        return [
            name
            for name, before in zip(self._names, self._sums, strict=True)
            if now.get(name) != before or named[name].requires_grad
        ]

    def _counts(self) -> list[int]:
        return list(map(attrgetter("_version"), self._counted.values()))


def pretrained_tensors(model: DiffusionModel) -> dict[str, Tensor]:
    """The parameters and buffers of all parts of a model but those of its adapters, by name: "unet.conv_in.weight"."""
    parts = {name: part for name, part in model.pipe.components.items() if isinstance(part, nn.Module)}
    # PEFT moves the weight of a layer one level deeper when the layer gets an adapter.
    return {
        f"{part}.{name}".replace(".base_layer", ""): tensor
        for part, module in parts.items()
        for tensors in (module.named_parameters(), module.named_buffers())
        for name, tensor in tensors
        if ".lora_" not in name
    }


def checksums(tensors: Iterable[Tensor]) -> list[tuple[object, ...]]:
    """The checksum of each tensor, with its shape and format; in the order of memory, whatever its strides."""
    tensors = list(tensors)
    keys: dict[torch.device, Tensor] = {}
    sums: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        device = tensor.device
        if device not in keys:
            keys[device] = torch.arange(1, 2 * PERIOD + 1, 2, device=device) * 0x9E3779B1
        sums.setdefault(device, []).append(_checksum(tensor.detach(), keys[device]))
    found = {device: iter(torch.stack(of_device).tolist()) for device, of_device in sums.items()}
    return [(next(found[t.device]), t.shape, t.dtype, t.stride()) for t in tensors]


def several(names: list[str]) -> str:
    """Some names, for a message: "a, b, c and 5 more"."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _checksum(tensor: Tensor, keys: Tensor) -> Tensor:
    """A number, int64, that depends on every byte of a tensor and on its place."""
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)  # the order of memory, so that nothing is copied
    flat = tensor.contiguous().view(-1)
    size = flat.element_size()
    if size < 8 and flat.numel() * size % 8 == 0 and flat.storage_offset() * size % 8 == 0 and flat.numel():
        flat = flat.view(torch.int64)
    elif flat.dtype == torch.bool or size in INTEGERS:
        flat = flat.view(INTEGERS[size])
    else:  # complex128
        flat = torch.view_as_real(flat).reshape(-1).view(torch.int64)
    whole = len(flat) // PERIOD * PERIOD
    rest = (flat[whole:] * keys[: len(flat) - whole]).sum()
    if not whole:
        return rest
    return (flat[:whole].view(-1, PERIOD).sum(0, dtype=torch.int64) * keys).sum() + 3 * rest
