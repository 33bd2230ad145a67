"""The training loop of every stage. A stage that was killed continues at its last checkpoint, to the same weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ril_bench.storage.checkpoint import pack, unpack
from ril_bench.storage.files import write_files
from ril_bench.worlds.shapes.train.common import Recipe

M = TypeVar("M", bound=nn.Module)
Parts = dict[str, nn.Module | torch.optim.Optimizer]

WARMUP = 100  # updates


class Batches:
    """Random minibatches of the indices 0 .. pool - 1: `batches[u]` is that of update u, for rising u."""

    def __init__(self, pool: int, size: int, seed: int):
        self.pool, self.size = pool, size
        self.rng = torch.Generator().manual_seed(seed)
        self.drawn = 0

    def __getitem__(self, update: int) -> Tensor:
        while self.drawn < update:
            self._next()
        return self._next()

    def _next(self) -> Tensor:
        self.drawn += 1
        return torch.randint(self.pool, (self.size,), generator=self.rng)


def fit(
    recipe: Recipe,
    stage: str,
    modules: M,
    loss_of: Callable[[int], Tensor],
    *,
    updates: int,
    lr: float,
    weight_decay: float = 0.01,
    ema: float = 0.995,
    every: int = 100,
    on_log: Callable[[int, M], None] | None = None,
) -> M:
    """AdamW with warm-up and cosine decay on `loss_of(update)`; returns an exponential moving average of the weights.

    After each `every` updates it logs, and writes a checkpoint, which the end of the stage deletes.

    Args:
        loss_of: the loss of an update; its random numbers come from torch's generator and from `Batches`.
        on_log: called with the number of updates and the averaged modules, to save or to measure them.
    """
    optimizer = torch.optim.AdamW(modules.parameters(), lr=lr, weight_decay=weight_decay)
    averaged = AveragedModel(modules, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True)
    checkpoint = recipe.folder / f"{stage}.checkpoint"
    parts: Parts = {"modules": modules, "averaged": averaged, "optimizer": optimizer}
    first, before = _resumed(checkpoint, parts)
    began, window = time.perf_counter() - before, []
    for update in range(first, updates):
        for group in optimizer.param_groups:
            group["lr"] = lr * _share_of_rate(update, updates)
        loss = loss_of(update)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        averaged.update_parameters(modules)
        window.append(loss.item())
        done = update + 1
        if done % every == 0 or done == updates:
            seconds = time.perf_counter() - began
            recipe.log(stage, update=done, loss=sum(window) / len(window), seconds=seconds)
            window.clear()
            if on_log is not None:
                on_log(done, cast(M, averaged.module))
            rest = {"done": done, "seconds": seconds, "rng": torch.get_rng_state()}
            states = {name: part.state_dict() for name, part in parts.items()}
            write_files({checkpoint: pack(states | rest)})
    checkpoint.unlink(missing_ok=True)
    return cast(M, averaged.module)


def _share_of_rate(update: int, updates: int) -> float:
    return min(1.0, (update + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * update / updates))


def _resumed(checkpoint: Path, parts: Parts) -> tuple[int, float]:
    """Loads a checkpoint, if there is one; returns how many updates are done, and their seconds."""
    if not checkpoint.exists():
        return 0, 0.0
    state = unpack(checkpoint.read_bytes())
    for name, part in parts.items():
        part.load_state_dict(state[name])
    torch.set_rng_state(state["rng"])
    return state["done"], state["seconds"]
