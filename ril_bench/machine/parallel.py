"""Several processes that make one run together (`accelerate launch -m ril_bench run ...`).

Each takes every n-th sample of a batch; as draws are keyed by the sample, these are the images that one process alone
would make, and the gradients, each at its share of the batch, add up to the same update. All hold the same adapters and
optimizer. Only the main process writes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from ril_bench.errors import InfrastructureError, RilError

T = TypeVar("T")

PATIENCE = timedelta(hours=12)  # the others wait while the main process scores and writes


@dataclass(frozen=True)
class Team:
    """The processes of a run, seen from one of them; a process on its own is a team of one."""

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def owns(self, sample: int) -> bool:
        """Whether a sample, or the part of any other work with this number, is this process's."""
        return sample % self.size == self.rank

    def mine(self, samples: Iterable[int]) -> list[int]:
        """Those that this process owns. All copies of a sample stay with it."""
        return [sample for sample in samples if self.owns(sample)]

    def gathered(self, make: Callable[[], T]) -> list[T]:
        """What each process makes, in the order of ranks; an error of one is raised by all: none waits for it."""
        if self.size == 1:
            return [make()]
        made: Any = None
        error: Exception | None = None
        try:
            made = make()
        except Exception as raised:
            error = raised
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, (made, _sendable(error)))
        if error is not None:
            raise error
        for _, theirs in found:
            if theirs is not None:
                raise theirs
        return [value for value, _ in found]

    def on_main(self, make: Callable[[], T]) -> T | None:
        """What the main process makes, None in the others, who wait for it; its error is raised by all."""
        made: list[T] = []
        self.gathered(lambda: made.append(make()) if self.main else None)
        return made[0] if made else None

    def from_main(self, make: Callable[[], T]) -> T:
        """What the main process makes, in every one."""
        return self.gathered(lambda: make() if self.main else None)[0]  # type: ignore[return-value]

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The others begin when the main process is through: it downloads what all of them read."""
        if not self.main:
            dist.barrier()
        try:
            yield
        finally:
            if self.main and self.size > 1:
                dist.barrier()

    @contextmanager
    def counted(self, counter: Counter[Any]) -> Iterator[None]:
        """What is counted meanwhile is what all processes did, in every one."""
        before = Counter(counter)
        yield
        if self.size > 1:
            own = counter - before
            counter.clear()
            counter.update(sum(self.gathered(lambda: own), before))

    @torch.no_grad()
    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Every gradient becomes the sum over the processes; None stays None where none of them has one."""
        if self.size == 1 or not parameters:
            return
        having = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([having, *(gradient.flatten() for gradient in gradients)])
        dist.all_reduce(flat)
        found_by, *summed = flat.split([len(parameters), *(p.numel() for p in parameters)])
        for parameter, gradient, found in zip(parameters, summed, found_by.tolist(), strict=True):
            parameter.grad = gradient.view_as(parameter).clone() if found else None

    @torch.no_grad()
    def share_weights(self, parameters: Iterable[nn.Parameter]) -> None:
        """The main process's weights in every one: what they computed alike may differ in the last bit."""
        if self.size > 1:
            for parameter in parameters:
                dist.broadcast(parameter.data, src=0)


def _sendable(error: Exception | None) -> Exception | None:
    """An error as another process can raise it."""
    if error is None or isinstance(error, RilError):
        return error
    return InfrastructureError(f"another process of this run failed: {type(error).__name__}: {error}")


ALONE = Team()


@cache
def team(device: str = "cpu") -> Team:
    """The team that a launcher started this process in (accelerate's, torchrun's), joined at the first call."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=PATIENCE)
    return Team(state.process_index, state.num_processes)
