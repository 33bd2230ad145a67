"""What tuners and methods need of a sampler; checked before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from ril_bench.errors import SequenceError


@dataclass(frozen=True)
class _Need:
    met: Callable[[float], bool]  # by this eta
    sampler: str
    hint: str


OF_SAMPLER = {
    "random_steps": _Need(lambda eta: eta > 0, "whose steps are random", "above 0 (1 in the papers)"),
    "memoryless_steps": _Need(lambda eta: eta == 1, "that forgets its first noise", "to 1"),
}


def check_sampler(needs: Collection[str], eta: float, who: str) -> None:
    """Raises SequenceError where a sampler with this eta lacks what `who` needs, such as "the tuner ddpo"."""
    for name in sorted(OF_SAMPLER.keys() & set(needs)):
        need = OF_SAMPLER[name]
        if not need.met(eta):
            raise SequenceError(
                f"{who} needs a sampler {need.sampler}, and eta is {eta:g}",
                where="sampler.eta",
                hint=f"set sampler.eta {need.hint}, or choose another tuner or method",
            )
