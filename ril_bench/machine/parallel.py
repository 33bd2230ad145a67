"""Several processes compute one run together (`accelerate launch -m ril_bench run ...`).

Each process takes every n-th sample of a batch. Draws are keyed by the sample, so the images are those of a run in one
process, and the gradients, each weighted with its share of the batch, add up to the same update. All processes hold the
same adapters and optimizer. Only the main process writes.

accelerate starts the processes, gathers, reduces and broadcasts. This module adds what accelerate lacks: all processes
raise the error of one process, so that no process waits for one that has failed.
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
from torch import nn

from ril_bench.errors import InfrastructureError, RilError, UserError

T = TypeVar("T")

TIMEOUT = timedelta(hours=12)  # other processes wait while the main process scores and writes


@dataclass(frozen=True)
class Team:
    """The processes of a run, and the rank of this process; a single process is a team of one."""

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def owns(self, sample: int) -> bool:
        """Whether this process computes the sample, or another part of the work, with this number."""
        return sample % self.size == self.rank

    def owned(self, samples: Iterable[int]) -> list[int]:
        """The samples of this process; all copies of a sample belong to the same process."""
        return [sample for sample in samples if self.owns(sample)]

    def gathered(self, compute: Callable[[], T]) -> list[T]:
        """What each process computes, in the order of ranks. All raise the error of one process."""
        if self.size == 1:
            return [compute()]
        from accelerate.utils import gather_object

        value: Any = None
        error: Exception | None = None
        try:
            value = compute()
        except Exception as raised:
            error = raised
        found = gather_object([(value, _sendable(error))])
        if error is not None:
            raise error
        for _, other_error in found:
            if other_error is not None:
                raise other_error
        return [value for value, _ in found]

    def on_main(self, compute: Callable[[], T]) -> T | None:
        """Computes on the main process only; the others wait and return None. All raise its error."""
        results: list[T] = []
        self.gathered(lambda: results.append(compute()) if self.main else None)
        return results[0] if results else None

    def from_main(self, compute: Callable[[], T]) -> T:
        """What the main process computes, in every process."""
        return self.gathered(lambda: compute() if self.main else None)[0]  # type: ignore[return-value]

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The other processes enter the block after the main process has left it.

        So the main process downloads what all of them read.
        """
        if self.size == 1:
            yield
            return
        from accelerate import PartialState

        # not accelerate's main_process_first: after an error of the main process, the others would wait in it
        wait = PartialState().wait_for_everyone
        if not self.main:
            wait()
        try:
            yield
        finally:
            if self.main:
                wait()

    @contextmanager
    def counted(self, counter: Counter[Any]) -> Iterator[None]:
        """Adds the counts of all processes inside the block to the counter of every process."""
        before = Counter(counter)
        yield
        if self.size > 1:
            own = counter - before
            counter.clear()
            counter.update(sum(self.gathered(lambda: own), before))

    @torch.no_grad()
    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces every gradient by its sum over the processes; it stays None if none has one."""
        if self.size == 1 or not parameters:
            return
        from accelerate.utils import reduce

        # one flat tensor, so that there is one call; it begins with a 1 for each gradient that this process has
        present = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = reduce(torch.cat([present, *(gradient.flatten() for gradient in gradients)]), reduction="sum")
        counts, *sums = flat.split([len(parameters), *(p.numel() for p in parameters)])
        for parameter, gradient, count in zip(parameters, sums, counts.tolist(), strict=True):
            parameter.grad = gradient.view_as(parameter).clone() if count else None

    @torch.no_grad()
    def share_weights(self, parameters: Iterable[nn.Parameter]) -> None:
        """Copies the main process's weights into every process.

        Without it, weights may differ in the last bit although the processes compute the same.
        """
        if self.size > 1:
            from accelerate.utils import broadcast

            for parameter in parameters:
                parameter.data.copy_(broadcast(parameter.data))


def _sendable(error: Exception | None) -> Exception | None:
    """An error that another process can raise.

    It is pickled, so an error of an unknown class becomes an InfrastructureError.
    """
    if error is None or isinstance(error, RilError):
        return error
    return InfrastructureError(f"another process of this run failed: {type(error).__name__}: {error}")


ALONE = Team()


@cache
def team(device: str = "cpu") -> Team:
    """The team in which a launcher (accelerate or torchrun) started this process.

    The first call joins the team.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size.strip() in ("", "1"):
        return ALONE
    if not size.strip().isdecimal() or not os.environ.get("MASTER_ADDR"):
        raise UserError(
            f"WORLD_SIZE is {size!r}, and no launcher has set the other variables, such as MASTER_ADDR",
            where="environment",
            hint="start several processes with accelerate launch -m ril_bench ..., or unset WORLD_SIZE for one process",
        )
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=TIMEOUT)
    return Team(state.process_index, state.num_processes)
