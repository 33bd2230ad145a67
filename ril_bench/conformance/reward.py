"""The conformance suite of rewards.

It checks shape, finite values, determinism, the pairing of images and prompts, and the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from ril_bench import registry
from ril_bench.conformance.suite import Check, CheckFailed, CheckResult, require_docstring, run_checks
from ril_bench.draws import generator
from ril_bench.machine.calls import called
from ril_bench.remote.file import RemoteFile
from ril_bench.rewards.base import Reward, fault_of
from ril_bench.running.materials import gradient_free
from ril_bench.worlds.shapes.captions import prompts

N = 3
SIZE = 64  # pixels
ROUNDING = 1e-4  # relative: the difference that another order of summation may cause


def check_reward(reference: str) -> Iterator[CheckResult]:
    """Yields the result of each check as it ends.

    Args:
        reference: a reward's name or file.
    """
    suite = _Suite(reference)
    yield from run_checks(suite.checks(), needed=(suite.loads, suite.has_its_files, suite.scores))


class _Suite:
    def __init__(self, reference: str):
        self.reference = reference
        self.prompts = list(prompts("train")[:N])

    def checks(self) -> list[Check]:
        checks = [self.loads, self.has_its_files]
        if self._missing():
            return checks
        return [
            *checks,
            self.scores,
            self.repeats,
            self.keeps_rows_apart,
            self.reference_agrees,
            self.has_a_gradient,
        ]

    def _missing(self) -> list[str]:
        try:
            weights = registry.load("reward", self.reference).weights
        except BaseException:  # `loads` reports it
            return []
        here = [file.cached_path() if isinstance(file, RemoteFile) else file.exists() for file in weights]
        return [file.name for file, found in zip(weights, here, strict=True) if not found]

    def loads(self) -> None:
        """loads, and states its unit"""
        cls: type[Reward] = registry.load("reward", self.reference)
        require_docstring(cls)
        if not isinstance(getattr(cls, "unit", None), str):
            raise CheckFailed(
                "it states no unit", 'write unit = "grey levels", or the unit in which the score is measured'
            )

    def has_its_files(self) -> str | None:
        """the files that it loads are on this machine"""
        if missing := self._missing():
            return f"score not checked, because these files are not on this machine: {', '.join(missing)}"
        self.reward: Reward = registry.load("reward", self.reference)(device="cpu")
        return None

    def scores(self) -> None:
        """returns one finite score for each image, also for black, white and grey images"""
        for name, images in self._images().items():
            own = images, list(self.prompts)
            scores = called(
                self.reward.score, own, type(self.reward), "score", partial(fault_of, self.reward)
            )
            if not isinstance(scores, Tensor) or scores.shape != (N,):
                got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
                raise CheckFailed(
                    f"the scores of {N} images have the shape or type {got}, not ({N},)",
                    "return one score for each image: for example the mean over dim=(1, 2, 3)",
                )
            if not scores.isfinite().all():
                raise CheckFailed(
                    f"the score of {name} images is not finite",
                    "keep denominators and arguments of roots away from 0: such a score stops a run",
                )

    def repeats(self) -> None:
        """returns the same score for the same image"""
        first, again = (self.reward(self._noise(), self.prompts) for _ in range(2))
        if not torch.equal(first, again):
            raise CheckFailed(
                f"two calls differ by up to {(first - again).abs().max():.3g}",
                "a score must depend only on image and prompt: draw nothing at random, and call eval() on "
                "networks",
            )

    def keeps_rows_apart(self) -> None:
        """scores each image separately, for its own prompt"""
        images = self._noise()
        together = self.reward(images, self.prompts)
        backwards = self.reward(images.flip(0), self.prompts[::-1]).flip(0)
        alone = torch.cat([self.reward(images[i : i + 1], [self.prompts[i]]) for i in range(N)])
        for what, other in (("in another order", backwards), ("one at a time", alone)):
            if not _close(together, other):
                raise CheckFailed(
                    f"images get other scores {what}, by up to {(together - other).abs().max():.3g}",
                    "row i of the scores may depend only on image i and prompt i, not on other rows",
                )

    def reference_agrees(self) -> str | None:
        """its reference score has the same shape as its score"""
        images = self._noise()
        reference = self.reward.reference(images, self.prompts)
        if reference.shape != (N,) or not reference.isfinite().all():
            raise CheckFailed(
                "reference_score does not return one finite score for each image",
                "return scores of shape (N,), as score does",
            )
        if reference.requires_grad:
            raise CheckFailed(
                "reference_score keeps a graph",
                "compute it under torch.no_grad(): the evaluation needs no graph, and the graph costs memory",
            )
        if _close(reference, self.reward(images, self.prompts), rounding=0.05):
            return None
        return "score and reference_score differ by more than 5% on noise images: is their preprocessing the same?"

    def has_a_gradient(self) -> str | None:
        """has the gradient that it states: finite, not zero, and separate for each image"""
        images = self._noise().requires_grad_()
        scores = self.reward(images, self.prompts)
        if not self.reward.differentiable:
            return f"differentiable is False: only the tuners {', '.join(gradient_free())} can raise it"
        gradient = None
        if scores.requires_grad:
            (gradient,) = torch.autograd.grad(scores[0], images, allow_unused=True)
        if gradient is None:
            raise CheckFailed(
                "it states differentiable = True, but its score keeps no graph of the images",
                "write differentiable = False, or remove detach(), item(), numpy() and no_grad() from score",
            )
        if not gradient.isfinite().all():
            raise CheckFailed(
                "its gradient is not finite", "keep arguments of roots and logarithms away from 0"
            )
        if not gradient[0].any():
            raise CheckFailed(
                "its gradient is zero",
                "rounding and comparisons have no gradient: use smooth functions instead",
            )
        if gradient[1:].any():
            raise CheckFailed(
                "the score of image 1 has a gradient in other images", "score each image separately"
            )
        return None

    def _images(self) -> dict[str, Tensor]:
        shape = (N, 3, SIZE, SIZE)
        return {
            "noise": self._noise(),
            "black": torch.zeros(shape),
            "white": torch.ones(shape),
            "grey": torch.full(shape, 0.5),
        }

    def _noise(self) -> Tensor:
        values = generator("check", "reward").uniform(0.2, 0.8, (N, 3, SIZE, SIZE))
        return torch.from_numpy(values).float()


def _close(a: Tensor, b: Tensor, rounding: float = ROUNDING) -> bool:
    """Whether two rows of scores are equal up to rounding, relative to their size."""
    size = float(torch.maximum(a.abs(), b.abs()).max().clamp_min(1e-6))
    return bool(((a - b).abs() <= rounding * size).all())
