"""What all stages share: folder and scale, the training loop, weight files."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Recipe:
    """The folder and the scale of all stages.

    Attributes:
        folder: the folder of the weights; it gets the same files as the `weights/` that ship.
        scale: a factor on the numbers of updates, images and measurements; 1 is the recipe of the weights that ship.
    """

    folder: Path
    scale: float = 1.0

    def scaled(self, count: int, least: int = 2) -> int:
        """A number of the full recipe times the scale, and not below `least`."""
        return max(round(self.scale * count), least)

    @property
    def pipeline(self) -> Path:
        return self.folder / "pipeline"

    @property
    def classifier(self) -> Path:
        return self.folder / "classifier.safetensors"

    @property
    def reward_encoder(self) -> Path:
        return self.folder / "clip-reward"

    @property
    def probe_encoder(self) -> Path:
        return self.folder / "clip-probe"

    @property
    def aesthetic(self) -> Path:
        return self.folder / "aesthetic.safetensors"

    @property
    def preference(self) -> Path:
        return self.folder / "preference.safetensors"

    def log(self, stage: str, **values: float | str) -> None:
        """Prints one line and appends it to training.jsonl."""
        rounded = {
            key: round(value, 5) if isinstance(value, float) else value for key, value in values.items()
        }
        line = json.dumps({"stage": stage} | rounded)
        print(line, flush=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "training.jsonl").open("a") as file:
            file.write(line + "\n")


def fit(
    recipe: Recipe,
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
    """AdamW with warm-up and cosine decay on `loss_of(update)`; returns averaged weights.

    The average is an exponential moving average.

    It logs after each `every` updates; `on_log(update, averaged)` may save or measure.
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
            seconds = time.perf_counter() - began
            recipe.log(stage, update=update + 1, loss=sum(window) / len(window), seconds=seconds)
            window.clear()
            if on_log is not None:
                on_log(update + 1, cast(M, averaged.module))
    return cast(M, averaged.module)


def halves(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating tensors in half precision, contiguous, as the weights ship."""
    return {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}


def write(state: Mapping[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(halves(state), path)


def batches(pool: int, size: int, seed: int) -> Iterator[Tensor]:
    """Endless random minibatches of the indices 0 .. pool - 1."""
    rng = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randint(pool, (size,), generator=rng)
