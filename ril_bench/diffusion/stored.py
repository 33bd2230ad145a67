"""The weights in the files of one part of a pipeline: first what the headers state, then the values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ril_bench.errors import UserError
from ril_bench.remote.weights import refuse_pointer

#: what safetensors calls the number formats of weights; others are masks, indices, or integers that need a scale
FLOATING = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


@dataclass(frozen=True)
class Stored:
    """A weight in a file, by the file's header."""

    name: str
    file: Path
    format: str
    shape: tuple[int, ...]


def stored(files: Iterable[Path]) -> dict[str, Stored]:
    """The weights in files, by name.

    Raises UserError where a file cannot be read, or two files have a weight of the same name.
    """
    found: dict[str, Stored] = {}
    for file in files:
        with _opened(file) as held:
            for name in held.keys():  # noqa: SIM118 (it is no dict)
                part = held.get_slice(name)
                weight = Stored(name, file, part.get_dtype(), tuple(part.get_shape()))
                if (other := found.setdefault(name, weight)) is not weight:
                    raise UserError(
                        f"two files have the weight {name}: {other.file.name} and {file.name}",
                        where=str(file),
                        hint="get the part again, as the library that saved it wrote it",
                    )
    return found


def read(weights: Iterable[Stored], dtype: torch.dtype) -> Iterator[tuple[Stored, Tensor]]:
    """The values of weights in a number format, file by file; they are copies.

    Raises UserError where a value is not finite in this format.
    """
    by_file: dict[Path, list[Stored]] = {}
    for weight in weights:
        by_file.setdefault(weight.file, []).append(weight)
    for file, inside in by_file.items():
        with _opened(file) as held:
            for weight in inside:
                values = held.get_tensor(weight.name).to(dtype, copy=True)
                # Smallest and largest are not finite where any value is not: 0.1 s per GB, isfinite takes 1 to 5 s
                if values.numel() and not all(end.isfinite() for end in values.aminmax()):
                    raise UserError(
                        f"a value of the weight {weight.name} of the {file.parent.name} is not finite in {dtype}",
                        where=str(file),
                        hint="get the model again: this file is damaged, or its training failed",
                    )
                yield weight, values


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    refuse_pointer(file)
    try:
        with safe_open(str(file), "pt") as held:
            yield held
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"this is not a whole file of weights: {error}", where=str(file), hint="copy or download it again"
        ) from error
