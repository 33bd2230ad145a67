"""All randomness of a run, counter-based: a value is a function of its key and of nothing else.

A key names what is drawn ((seed, task, update) in training, (evaluation seed,) in evaluation) and for which
sample, so the same value comes out whatever the micro-batch, the number of processes or the order of the
calls, and a resume needs no random state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch

Key = str | int | tuple["Key", ...]


def generator(*key: Key) -> np.random.Generator:
    """The random stream of a key (strings, integers, tuples of them; nested as deep as wanted).

    Philox takes all of the key's 128-bit digest; torch's CPU generator keeps the low 32 bits of a seed, so
    that a long run would meet the same stream twice. [ours]
    """
    # JSON tells 1 from "1" and ("a", "b") from ("ab",), so different keys never share an encoding.
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


class Draws:
    """One stream per sample of a batch, keyed by (key, sample, what).

    `draws[i:j]` are the draws of a micro-batch: the same values that the whole batch would get there.
    """

    def __init__(self, key: tuple[Key, ...], samples: Sequence[Key]):
        self.key = tuple(key)
        self.samples = list(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, part: slice) -> Draws:
        return Draws(self.key, self.samples[part])

    def copy(self, j: int) -> Draws:
        """The draws of copy j of the same samples, for what needs several images of one prompt."""
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
        """One integer in [low, high) for the whole batch: all micro-batches agree on it."""
        return int(generator(self.key, ("batch",), what).integers(low, high))

    def gauss(self, *what: Key) -> float:
        """One standard normal number for the whole batch."""
        return float(generator(self.key, ("batch",), what).standard_normal())
