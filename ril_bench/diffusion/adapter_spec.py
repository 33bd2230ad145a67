"""The shape of a LoRA adapter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AdapterSpec:
    """The shape of a LoRA adapter: alpha / rank * B A is added to every linear layer that `targets` names.

    Attributes:
        rank: rank of the factors A (rank, in) and B (out, rank).
        alpha: the scaling is alpha / rank, as in PEFT.
        targets: ends of the layers' names in the denoiser, such as "to_q".
    """

    rank: int
    alpha: float
    targets: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
