"""Checkpoints: trees of tensors and plain values as bytes.

The file is a SHA-256 digest (32 bytes), followed by the output of `torch.save`. `torch.load` reads it with
`weights_only=True`: this creates only tensors and plain values, and never runs code from the file.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from typing import Any

import torch

DIGEST_BYTES = hashlib.sha256().digest_size
PLAIN = (type(None), bool, int, float, str)


def pack(tree: Any) -> bytes:
    """A tree of dicts, lists, tuples, tensors and plain values as the bytes of a file.

    Tensors keep their strides and their shared memory. So a sum over a tensor that is read back adds in the
    same order, and gives the same bits.

    Raises:
        TypeError: something in the tree is neither a tensor nor a plain value.
    """
    buffer = io.BytesIO()
    torch.save(_checked(tree, "tree"), buffer)
    saved = buffer.getvalue()
    return hashlib.sha256(saved).digest() + saved


def unpack(data: bytes) -> Any:
    """The tree that `pack` wrote, with its tensors on the CPU.

    Raises ValueError if the bytes are truncated or altered.
    """
    digest, saved = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    if hashlib.sha256(saved).digest() != digest:
        raise ValueError("its content does not match its SHA-256 digest")
    try:
        return torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise ValueError(f"torch.load cannot read it: {error}") from error


def _checked(node: Any, place: str) -> Any:
    """The tree with detached tensors, and with dicts for mappings; errors name the `place`."""
    if isinstance(node, torch.Tensor):
        return node.detach()
    if type(node) in PLAIN:
        return node
    if type(node) in (list, tuple):
        return type(node)(_checked(item, f"{place}[{i}]") for i, item in enumerate(node))
    if isinstance(node, Mapping):
        return {_checked(key, place): _checked(item, f"{place}[{key!r}]") for key, item in node.items()}
    raise TypeError(f"{place} is a {type(node).__name__}: a checkpoint holds tensors and plain values only")
