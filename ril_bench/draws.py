"""All random numbers of a run.

They are counter-based: a value is a function of its key alone. A key states what is drawn ((seed, task, update) in
training, (evaluation seed,) in evaluation) and for which sample. So the values do not depend on the micro-batches,
the number of processes or the order of the calls, and a resume needs no random state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch

Key = str | int | tuple["Key", ...]


def generator(*key: Key) -> np.random.Generator:
    """The random stream of a key: strings, integers, and tuples of them, nested to any depth.

    Philox uses the whole 128-bit digest of the key. torch's CPU generator uses only the low 32 bits of a seed, so two
    keys of a long run would share a stream. [ours]
    """
    # JSON distinguishes 1 from "1" and ("a", "b") from ("ab",), so different keys never have the same encoding.
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


class Draws:
    """One stream per sample of a batch, keyed by (key, sample, what).

    `draws[i:j]` are the draws of a micro-batch; they have the same values as in the whole batch.
    """

    def __init__(self, key: tuple[Key, ...], samples: Sequence[Key]):
        self.key = tuple(key)
        self.samples = tuple(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, part: slice) -> Draws:
        return Draws(self.key, self.samples[part])

    def copy(self, j: int) -> Draws:
        """The draws of copy j of the same samples, for several images of one prompt."""
        return Draws((*self.key, "copy", j), self.samples)

    def normal(self, *what: Key, shape: Sequence[int]) -> torch.Tensor:
        """Standard normal noise (N, *shape), float32, on the CPU."""
        noise = np.empty((len(self), *shape), dtype=np.float32)
        for row, stream in zip(noise, self.streams(*what), strict=True):
            row[...] = stream.standard_normal(shape, dtype=np.float32)
        return torch.from_numpy(noise)

    def streams(self, *what: Key) -> list[np.random.Generator]:
        """A random stream for each sample."""
        return [generator(self.key, ("sample", sample), what) for sample in self.samples]

    def integers(self, low: int, high: int, *what: Key) -> int:
        """One integer in [low, high) for the whole batch; all micro-batches draw the same."""
        return int(generator(self.key, ("batch",), what).integers(low, high))

    def distinct(
        self, among: Sequence[int], n: int, *what: Key, weights: Sequence[float] | None = None
    ) -> list[int]:
        """n different integers from `among` for the whole batch, sorted; with `weights`, more often the heavier ones.

        They are drawn one after another, each with probability in proportion to its weight among those that are left.
        """
        shares = None if weights is None else np.asarray(weights, dtype=np.float64) / np.sum(weights)
        stream = generator(self.key, ("batch",), what)
        return sorted(stream.choice(np.asarray(among), n, replace=False, p=shares).tolist())

    def gauss(self, *what: Key) -> float:
        """One standard normal number for the whole batch."""
        return float(generator(self.key, ("batch",), what).standard_normal())
