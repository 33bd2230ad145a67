"""The LoRA files of an entry: safetensors only, in half precision, for the denoiser of its sequence."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.leaderboard.entry import Entry
from ril_bench.leaderboard.layout import OTHER_BYTES
from ril_bench.leaderboard.safety import walk

DTYPES = ("F32", "F16")
TENSORS = 10_000
#: the largest relative error of a float32 in the normal range of float16
HALF_ERROR = 2.0**-11
LARGEST = 65504  # of float16
#: how the names of A and of B end
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
Shapes = dict[str, tuple[int, ...]]


def halved(adapter: bytes) -> bytes:
    """An adapter's file in half precision; unchanged where that costs a tensor more than its last bit.

    A tensor with many values below 6e-5 or above 65504 has no room in float16; its file stays as it is. A layer's
    change of full rank becomes the change itself beside an identity: see `_of_least_rank`.
    """
    tensors = _of_least_rank(load(adapter))
    with np.errstate(over="ignore"):
        half = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    fits = all(_close(half[name], tensor) for name, tensor in tensors.items())
    return save(half, metadata={"format": "pt"}) if fits else adapter


def _of_least_rank(tensors: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The same changes of the weights, with no layer's rank above its smaller side.

    A merged adapter has one rank for all layers, which for some is more than they can have. There B A is stored itself,
    and the other factor is the identity: the sizes are those of full rank, and what a merge set to 0 compresses.
    """
    found = dict(tensors)
    for name in (name for name in tensors if name.endswith(DOWN)):
        other = name.removesuffix(DOWN) + UP
        down, up = tensors[name], tensors[other]
        (rank, into), out = down.shape, up.shape[0]
        if rank >= min(out, into):
            change = (up.astype(np.float64) @ down.astype(np.float64)).astype(np.float32)
            identity = np.eye(min(out, into), dtype=np.float32)
            found[name], found[other] = (identity, change) if into <= out else (change, identity)
    return found


def _close(half: NDArray[np.float16], whole: NDArray[np.float32]) -> bool:
    error = np.linalg.norm(half.astype(np.float64) - whole)
    return bool(error <= HALF_ERROR * np.linalg.norm(whole.astype(np.float64)))


def opening(entry: Entry) -> Iterator[UserError]:
    """Each adapter is a safetensors file of finite numbers. Nothing else is ever opened: a pickle would run code."""
    for path in entry.adapters.values():
        try:
            bad = _not_finite(path)
        except (SafetensorError, ValueError) as error:
            yield UserError(
                f"not a safetensors file of numbers: {error}"[:200],
                where=str(path),
                hint="submit adapter.safetensors of the run's own folder",
            )
        else:
            if bad:
                yield UserError(
                    f"{bad[:100]} holds numbers that are not finite, or above {LARGEST:,}",
                    where=str(path),
                    hint="such a run is not a result",
                )


def fitting(entry: Entry) -> Iterator[UserError]:
    """Each adapter is a LoRA of exactly the layers that the sequence adapts, of a step that it has.

    All files of the entry together have room for adapters of full rank in half precision.
    """
    tasks, spec = len(entry.sequence.order), entry.sequence.adapter
    layers = denoiser_layers(entry.sequence.model, tuple(spec.targets))
    whole = 2 * sum(min(shape) * sum(shape) for shape in layers.values())
    most = OTHER_BYTES + tasks * whole
    if (size := sum(path.stat().st_size for path, _, _ in walk(entry.folder))) > most:
        yield UserError(
            f"the entry has {size:,} bytes",
            where=str(entry.folder),
            hint=f"at most {most:,} on this sequence",
        )
    for step, path in entry.adapters.items():
        if step > tasks:
            yield UserError(f"there is no step {step}", where=str(path), hint=f"the last step is {tasks}")
        if wrong := _misfit(_shapes(path), layers):
            yield UserError(
                f"not a LoRA of this sequence's denoiser: {wrong}"[:300],
                where=str(path),
                hint="submit the adapter that the run of this very sequence left",
            )


def factors(path: Path) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """(A, B) of each layer in float64; the layer's weights change by B A. KeyError for a file that is no LoRA."""
    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name).astype(np.float64) for name in list(file.keys())}
    ends = [name for name in tensors if name.endswith(DOWN)]
    return {name: (tensors[name], tensors[name.removesuffix(DOWN) + UP]) for name in ends}


def distance(fresh: Path, stored: Path) -> float:
    """|B A - B' A'| / |B' A'| over all layers: how far one adapter's change of the weights is from another's.

    The norm is Frobenius'. Infinite where only the stored adapter changes nothing, or the layers differ.
    """
    new, old = factors(fresh), factors(stored)
    if new.keys() != old.keys():
        return float("inf")
    delta = {name: (new[name][1] @ new[name][0], up @ down) for name, (down, up) in old.items()}
    apart = sum(float(((a - b) ** 2).sum()) for a, b in delta.values())
    norm = sum(float((b**2).sum()) for _, b in delta.values())
    if norm == 0:
        return 0.0 if apart == 0 else float("inf")
    return float(np.sqrt(apart / norm))


def _not_finite(path: Path) -> str | None:
    """A tensor that is not finite or too large, if there is one; ValueError for types that no adapter has."""
    with safe_open(path, framework="np") as file:
        names = list(file.keys())
        if len(names) > TENSORS or any(file.get_slice(name).get_dtype() not in DTYPES for name in names):
            raise ValueError(f"an adapter has at most {TENSORS:,} tensors, of {' or '.join(DTYPES)}")
        return next((name for name in names if not (np.abs(file.get_tensor(name)) <= LARGEST).all()), None)


def _shapes(path: Path) -> Shapes:
    with safe_open(path, framework="np") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in list(file.keys())}


def _misfit(shapes: Shapes, layers: Shapes) -> str | None:
    """The fault of a LoRA; right are A (rank, in) and B (out, rank) for each layer (out, in), or no tensor at all."""
    wanted = {_key(layer, factor) for layer in layers for factor in "AB"}
    if not shapes:  # no adapter acted: the pretrained model
        return None
    if strange := sorted(set(shapes) ^ wanted):
        return f"{strange[0][:100]} is {'not there' if strange[0] in wanted else 'unknown'}"
    for layer, (out, into) in layers.items():
        down, up = shapes[_key(layer, "A")], shapes[_key(layer, "B")]
        if len(down) != 2 or len(up) != 2 or (up[0], down[1], up[1]) != (out, into, down[0]):
            return f"{layer} has A {down} and B {up} for a layer of {out} x {into}"
    return None


def _key(layer: str, factor: str) -> str:
    return f"{layer}.lora_{factor}.weight"


@cache
def denoiser_layers(model: str, targets: tuple[str, ...]) -> Shapes:
    """(out, in) of the layers that a sequence adapts, by their names in a LoRA file; no weights are loaded."""
    import diffusers
    import torch

    from ril_bench.diffusion.configs import read_config
    from ril_bench.diffusion.families import family_called

    folder = Path(str(registry.load("model", model)))
    index = folder / "model_index.json"
    part = family_called(read_config(index).get("_class_name"), where=str(index)).denoiser
    config = read_config(folder / part / "config.json")
    with torch.device("meta"):
        denoiser = getattr(diffusers, config["_class_name"]).from_config(config)
    return {
        f"{part}.{name}": (module.out_features, module.in_features)
        for name, module in denoiser.named_modules()
        if isinstance(module, torch.nn.Linear) and f".{name}".endswith(tuple(f".{t}" for t in targets))
    }
