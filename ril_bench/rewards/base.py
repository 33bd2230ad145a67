"""The Reward base class, and the check of the images that enter it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ril_bench.errors import RewardError
from ril_bench.machine.calls import called, place_of
from ril_bench.remote.file import RemoteFile


class Reward:
    """Scores images for their prompts: base class of all rewards and probes.

    A subclass sets `name` and `unit` and implements `score`. A sequence names a reward as a task, which a tuner
    raises, or as a probe, which is only measured. A reward is built once in a run, for one device, so load weights in
    `__init__`, which must call `super().__init__(device)`.

    Two calls lead to a score. `reward(images, prompts)` is for training and calls `score`.
    `reward.reference(images, prompts)` is for the evaluation and calls `reference_score`. Both check the images first,
    and return fp32. `score` gets its own copies of images and prompts, so a reward that changes them in place changes
    nothing else.

    The score of an image must depend on this image and its prompt alone, not on the other images of the batch, and
    must be the same at every call: batches are split where memory is short. A score that is not finite stops the run.

    Attributes:
        name: the reward's name in reports and files.
        unit: unit of the score, in words.
        direction: +1 if higher is better, -1 if lower is better. `score` returns the plain value in either case;
            training and metrics multiply it by the direction.
        differentiable: whether the score keeps the graph of the images. False for a reward without gradient: tuners
            that need the gradient refuse it before the run.
        weights: the files or folders that the score depends on; a run records their digests.
        device: where the images will be.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    direction: ClassVar[int] = +1
    differentiable: ClassVar[bool] = True
    weights: ClassVar[tuple[Path | RemoteFile, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.direction not in (-1, 1):
            raise _wrong(
                cls, f"direction is {cls.direction!r}", "write +1 if a higher score is better, else -1"
            )
        for attribute in ("name", "unit"):
            if not isinstance(value := getattr(cls, attribute, ""), str):
                raise _wrong(cls, f"{attribute} is {value!r}", f'write {attribute} = "some text"')
        files = cls.weights
        if not isinstance(files, tuple | list) or not all(
            isinstance(file, Path | RemoteFile) for file in files
        ):
            raise _wrong(cls, f"weights is {cls.weights!r}", "write weights = (Path(...),)")

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = torch.device(device)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores for training: (N,), fp32, in `unit`. Do not override it; implement `score`.

        Args:
            images: (N, 3, H, W), floating point, in [0, 1], on `device`.
            prompts: N prompts, one for each image.

        Raises:
            TypeError: the images are not floating point.
            ValueError: the images have another shape, values outside [0, 1], or another number than the prompts.
            RewardError: the scores are not a tensor with one number for each image, or the reward leaves a state of
                torch changed.
        """
        return self._checked_scores("score", images, prompts)

    @torch.no_grad()
    def reference(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores for the evaluation: like `__call__`, by `reference_score` and without a graph.

        Do not override it.
        """
        return self._checked_scores("reference_score", images, prompts).detach()

    def _checked_scores(self, hook: str, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """The scores of a hook in fp32. Raises RewardError if they are not a tensor with one number for each image."""
        own = checked(images, prompts).clone(), list(prompts)  # what the reward changes in place is its own
        scores = called(getattr(self, hook), own, type(self), hook, partial(fault_of, self))
        n, got = len(images), type(scores).__name__
        if isinstance(scores, Tensor):
            got = f"a tensor of shape {tuple(scores.shape)}"
            kind = scores.dtype if scores.is_complex() else scores.layout if scores.is_sparse else None
            if kind or scores.is_meta:
                got = f"a tensor of numbers of the kind {kind or scores.device}"
            elif tuple(scores.shape) == (n,):
                # A copy, as a reward may write its next scores into the same memory. A graph forbids that by itself.
                return scores.float() if scores.requires_grad else scores.float().clone()
        raise RewardError(
            f"the reward {self.name} returned {got} for {n} images; scores are a tensor of shape ({n},)",
            where=_place(type(self)),
            hint="return one number for each image, as torch.Tensor: scores.reshape(-1), or stack them",
        )

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Computes the scores. Every subclass implements it.

        Called in training, with autograd on or off, and by the default `reference_score`.

        Args:
            images: (N, 3, H, W) in [0, 1], checked; of any size.
            prompts: N prompts, one for each image.

        Returns:
            (N,), on the device of the images, with their graph if `differentiable`. NaN and infinite values must not be
            replaced: the run reports where they arose.
        """
        raise lacks_score(type(self))

    def reference_score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Computes the scores of the evaluation, without a graph; by default the same as `score`.

        A learned reward overrides it with its published preprocessing on 8-bit images, so that the evaluation reports
        the published score. `score` then has a differentiable version of that preprocessing.
        """
        return self.score(images, prompts)


def fault_of(reward: Reward, what: str, *, where: str, hint: str) -> RewardError:
    """An error that names a reward."""
    name = getattr(reward, "name", type(reward).__name__)
    return RewardError(f"the reward {name} {what}", where=where, hint=hint)


def lacks_score(cls: type[Reward]) -> RewardError:
    """The error of a class that does not implement `score`."""
    also = (
        "; reference_score is for the evaluation alone"
        if cls.reference_score is not Reward.reference_score
        else ""
    )
    return RewardError(
        f"the reward {getattr(cls, 'name', cls.__name__)} has no method `score`{also}",
        where=place_of(cls, ""),
        hint="write def score(self, images, prompts), which returns a tensor of shape (N,)",
    )


def _place(cls: type) -> str:
    """The file and the name of a class."""
    module = sys.modules.get(cls.__module__)
    return f"{getattr(module, '__file__', None) or cls.__module__}, class {cls.__name__}"


def _wrong(cls: type, what: str, hint: str) -> RewardError:
    return RewardError(f"the reward {cls.__name__} does not fit: {what}", where=_place(cls), hint=hint)


def checked(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """The images, if they are floats (N, 3, H, W) in [0, 1], one for each prompt; the range is not guessed.

    NaN passes the check. Raises TypeError or ValueError, as `Reward.__call__`.
    """
    if not torch.is_floating_point(images):
        raise TypeError(f"images are floats in [0, 1], got {images.dtype}")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images have the shape (N, 3, H, W), got {tuple(images.shape)}")
    if len(images) != len(prompts):
        raise ValueError(f"{len(images)} images for {len(prompts)} prompts")
    if bool((images < 0).any()) or bool((images > 1).any()):
        raise ValueError("images hold values outside [0, 1]")
    return images
