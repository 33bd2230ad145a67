"""A tree of tensors and plain values as one safetensors file with JSON in its metadata: nothing pickled."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

FORMAT = "ril-bench-checkpoint-1"


def pack(tree: Any) -> bytes:
    """A tree of dicts, lists, tuples, tensors and plain values as the bytes of ONE safetensors file.

    Keys may be any plain value (an optimizer's state has integers). Tensors are stored contiguous and apart:
    views and tensors that share memory come back equal, but no longer shared.

    Raises:
        TypeError: something in the tree is neither a tensor nor a plain value.
    """
    tensors: dict[str, torch.Tensor] = {}
    structure = json.dumps(_encode(tree, tensors, "tree"), separators=(",", ":"))
    metadata = {
        "format": FORMAT,
        "tree": structure,
        "sha256": _content_digest(structure, tensors),
    }
    return save(tensors, metadata=metadata)


def unpack(data: bytes) -> Any:
    """The tree that `pack` wrote, tensors on the CPU; ValueError if the bytes are truncated or altered."""
    try:
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size])["__metadata__"]
        tensors = load(data)
        structure, digest = metadata["tree"], metadata["sha256"]
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a whole checkpoint: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"a checkpoint of another format: {metadata.get('format')}")
    if digest != _content_digest(structure, tensors):
        raise ValueError("the content does not match its sha256")
    return _decode(json.loads(structure), tensors)


def _content_digest(structure: str, tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(structure.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _encode(node: Any, tensors: dict[str, torch.Tensor], place: str) -> Any:
    """JSON in which lists and plain values stand for themselves, and an object with one key tags all else."""
    if isinstance(node, torch.Tensor):
        name = str(len(tensors))
        # A clone of its own: safetensors refuses tensors that share memory.
        tensors[name] = node.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if node is None or type(node) in (bool, int, str):
        return node
    if type(node) is float:
        return node if math.isfinite(node) else {"float": repr(node)}
    if type(node) is list:
        return [_encode(item, tensors, f"{place}[{i}]") for i, item in enumerate(node)]
    if type(node) is tuple:
        return {"tuple": _encode(list(node), tensors, place)}
    if isinstance(node, Mapping):
        return {
            "dict": [
                [_encode(key, tensors, place), _encode(item, tensors, f"{place}[{key!r}]")]
                for key, item in node.items()
            ]
        }
    raise TypeError(f"{place} is a {type(node).__name__}: a checkpoint holds tensors and plain values only")


def _decode(node: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(node, list):
        return [_decode(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    ((tag, content),) = node.items()
    if tag == "tensor":
        return tensors[content]
    if tag == "float":
        return float(content)
    if tag == "tuple":
        return tuple(_decode(content, tensors))
    return {_decode(key, tensors): _decode(item, tensors) for key, item in content}
