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
DEPTH = 64  # levels of a tree; Python's own limit would show as a RecursionError


def pack(tree: Any) -> bytes:
    """A tree of dicts, lists, tuples, tensors and plain values as the bytes of a file.

    Tensors keep their strides and their shared memory. So a sum over a tensor that is read back adds in the
    same order, and gives the same bits.

    Raises:
        TypeError: something in the tree is neither a tensor nor a plain value.
    """
    buffer = io.BytesIO()
    torch.save(plain(tree), buffer)
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


def plain(tree: Any, place: str = "tree") -> Any:
    """The tree as a file keeps it, with detached tensors, and with dicts for mappings.

    Raises TypeError, which names the place, for all that could not be stored, or not be read again.
    """
    return _checked(tree, place, ())


def _checked(node: Any, place: str, above: tuple[int, ...]) -> Any:
    """`above` has the identities of the containers that hold the node."""
    if isinstance(node, torch.Tensor):
        if node.is_meta:
            raise TypeError(f"{place} is a tensor on the device meta, which has no values")
        if type(detached := node.detach()) is not torch.Tensor or node.is_nested:
            raise TypeError(f"{place} is a {type(node).__name__}: a checkpoint holds plain tensors only")
        return detached
    if type(node) in PLAIN:
        return node
    if id(node) in above:
        raise TypeError(f"{place} contains itself")
    if len(above) == DEPTH:
        raise TypeError(f"{place[:80]}... is nested more than {DEPTH} levels deep")
    inside = (*above, id(node))
    if type(node) in (list, tuple):
        return type(node)(_checked(item, f"{place}[{i}]", inside) for i, item in enumerate(node))
    if isinstance(node, Mapping):
        return {_key(key, place): _checked(item, f"{place}[{key!r}]", inside) for key, item in node.items()}
    raise TypeError(f"{place} is a {type(node).__name__}: a checkpoint holds tensors and plain values only")


def _key(key: Any, place: str) -> Any:
    if type(key) in PLAIN:
        return key
    if type(key) is tuple:
        return tuple(_key(part, place) for part in key)
    raise TypeError(f"a key of {place} is a {type(key).__name__}: keys are plain values")
