"""What a check verified of an entry, and the level that follows: stated < resampled < reproduced."""

from __future__ import annotations

from dataclasses import dataclass

from ril_bench.storage.entry_note import Level

#: of the norm of an adapter's change of the weights; measured: 2.8e-4 at most for half precision (60 adapters). On one
#: kind of machine training gives the same bytes, and a mixture of two steps' adapters may be within 0.1
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Resampled:
    """Images that were generated again from the adapters of an entry.

    Attributes:
        images: how many of each step.
        of: how many the evaluation has.
        steps: of which steps, from 0.
        gap: the largest mean difference of a reward, in deviations over prompts (sigma).
    """

    images: int
    of: int
    steps: tuple[int, ...]
    gap: float

    @property
    def whole(self) -> bool:
        """Whether all images were generated, and so every score and every metric of images was computed again."""
        return self.images == self.of

    def __str__(self) -> str:
        return f"{self.images} of {self.of} images of each step regenerated: within {self.gap:.2g} sigma"


@dataclass(frozen=True)
class Retrained:
    """Steps that were trained again.

    Attributes:
        steps: which, from 1.
        of: how many the sequence has.
        distance: the largest relative difference of an adapter's change of the weights; 0 for the same bytes.
        made_on: the processor and torch of the entry, where they are not the checker's; None where they are.
    """

    steps: tuple[int, ...]
    of: int
    distance: float
    made_on: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether the adapters are those of the entry."""
        return self.distance <= TOLERANCE

    @property
    def whole(self) -> bool:
        """Whether every adapter was trained again, and is that of the entry."""
        return self.agrees and len(self.steps) == self.of

    def __str__(self) -> str:
        trained = f"{len(self.steps)} of {self.of} adapters trained again"
        if self.distance == 0:
            return f"{trained}: the same bytes"
        if self.agrees:
            return f"{trained}: within {self.distance:.2g} of their norm"
        away = f"{trained}: {self.distance:.2g} of their norm away"
        return f"{away}, which says nothing: made on {self.made_on}" if self.made_on else away


def level(resampled: Resampled | None, retrained: Retrained | None) -> Level:
    """The level of an entry that passed its checks.

    Some images are a test by chance: a forger whose few false scores are not drawn would gain a rank. So the level
    `resampled` needs all images of all steps, and `reproduced` all adapters besides.
    """
    if resampled is None or not resampled.whole:
        return "stated"
    return "reproduced" if retrained and retrained.whole else "resampled"
