"""Knows which autograd graphs are open, so that adapters do not change between forward and backward."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor


class GraphWatch:
    """Watches the graphs of tensors until each is freed or has run backward."""

    def __init__(self) -> None:
        self._tokens: weakref.WeakSet[_Token] = weakref.WeakSet()

    @property
    def open(self) -> bool:
        """Whether the graph of a watched tensor is open."""
        return bool(self._tokens)

    def watched(self, x: Tensor) -> Tensor:
        """x itself, watched; its graph is open until it is freed or has run backward."""
        return _Watched.apply(x, self._tokens) if x.requires_grad else x


class _Token:
    """Represents one open graph; the reference to it is weak, so it disappears with its graph."""


class _Watched(torch.autograd.Function):
    """The identity; its graph node owns a token until the node is freed or has run backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tokens: weakref.WeakSet[_Token]) -> Tensor:
        ctx.token, ctx.tokens = _Token(), tokens
        tokens.add(ctx.token)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.tokens.discard(ctx.token)
        return gradient, None
