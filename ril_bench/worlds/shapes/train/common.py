"""What every stage of the recipe shares: images to learn from, a loop with a log, weights written in half."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ril_bench.worlds.shapes import WEIGHTS, captions
from ril_bench.worlds.shapes.renderer import Scene, compose, render_all

M = TypeVar("M", bound=nn.Module)
LOG = WEIGHTS / "training.jsonl"


def scenes(count: int, seed: int, *, held_out: bool = False, two: float = 0.4) -> list[Scene]:
    """`count` scenes of the train (or evaluation) side of the split, a share `two` of them with two objects."""
    words, places = random.Random(seed), np.random.default_rng(seed)
    return [
        compose(captions.draw(words, held_out=held_out, two=words.random() < two), places)
        for _ in range(count)
    ]


def images(some: list[Scene]) -> Tensor:
    """The renders of scenes, (N, 3, 64, 64) in [0, 1]."""
    return torch.from_numpy(render_all(some))


def images8(count: int, seed: int) -> Tensor:
    """A pool to learn from: 8-bit renders (N, 3, 64, 64) of `scenes(count, seed)`."""
    some = scenes(count, seed)
    return torch.cat([(images(some[i : i + 500]) * 255).round().byte() for i in range(0, count, 500)])


def fit(
    stage: str,
    modules: M,
    loss_of: Callable[[int], Tensor],
    *,
    updates: int,
    lr: float,
    weight_decay: float = 0.01,
    warmup: int = 100,
    ema: float = 0.995,
    every: int = 100,
    on_log: Callable[[int, M], None] | None = None,
) -> M:
    """AdamW with warm-up and cosine decay on `loss_of(update)`; returns the weights' moving average.

    Logs to `weights/training.jsonl` every `every` updates; `on_log(update, averaged)` may save or measure.
    """
    optimizer = torch.optim.AdamW(modules.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda u: min(1.0, (u + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * u / updates))
    )
    averaged = AveragedModel(modules, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True)
    began, window = time.perf_counter(), []
    for update in range(updates):
        loss = loss_of(update)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(modules)
        window.append(loss.item())
        if (update + 1) % every == 0 or update + 1 == updates:
            log(stage, update=update + 1, loss=sum(window) / len(window), seconds=time.perf_counter() - began)
            window.clear()
            if on_log is not None:
                on_log(update + 1, cast(M, averaged.module))
    return cast(M, averaged.module)


def log(stage: str, **figures: float | str) -> None:
    """One line to the terminal and to `weights/training.jsonl`."""
    line = json.dumps(
        {"stage": stage} | {k: round(v, 5) if isinstance(v, float) else v for k, v in figures.items()}
    )
    print(line, flush=True)
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("a") as file:
        file.write(line + "\n")


def halves(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating tensors in half precision, contiguous: what ships."""
    return {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}


def write(state: Mapping[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(halves(state), path)


def batches(pool: int, size: int, seed: int) -> Iterator[Tensor]:
    """Endless random minibatches of the indices 0 .. pool - 1."""
    rng = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randint(pool, (size,), generator=rng)
