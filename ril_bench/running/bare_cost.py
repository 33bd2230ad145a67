"""Bare cost: the time of the counted calls of a run when each call is measured alone.

Calls of the denoiser without a gradient, or with a gradient to the latents only, are measured without adapters. Other
calls of the denoiser are measured with one adapter that trains, forward and backward. Decoding and rewards are measured
too. Every call is measured at its own batch size, once on a machine for all methods: the seconds are kept in the cache.
So they must not depend on the adapters that one method leaves active.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.rewards.base import Reward
from ril_bench.storage import cache

Call = tuple[str, bool, int]  # kind, with gradient, batch
ROUNDS = 10
KIND, FILE = "bare-cost", "seconds.json"  # the folder of the cache, and the file in it
ADAPTER = "bare-cost"  # the adapter that is measured


def bare_seconds(calls: Mapping[Call, int], units: Mapping[Call, float]) -> float:
    """The sum over kinds of calls: number of calls times seconds of one call."""
    return sum(number * units[call] for call, number in calls.items())


def unit_seconds(
    calls: Sequence[Call],
    model: DiffusionModel,
    rewards: Mapping[str, Reward],
    prompts: Sequence[str],
    *,
    rounds: int = ROUNDS,
) -> dict[Call, float]:
    """Seconds of one call of each kind: the mean over rounds, after a warm-up.

    Returns the mean and not the minimum, because the seconds of a run are a sum: both contain the load peaks
    of a shared machine. Every round measures each kind once, so that a load peak does not affect only one
    kind. Leaves the model as it was, but for the gradients of its parameters, which are cleared.

    Raises RuntimeError where a call that was counted with a gradient has none now.
    """
    counter, model.counter = model.counter, Counter()
    seconds: dict[Call, list[float]] = {call: [] for call in calls}
    try:
        with _one_adapter(model):
            functions = {call: one_call(*call, model, rewards, prompts) for call in calls}
            for _ in range(1 + rounds):
                for call, function in functions.items():
                    kind, graded, _ = call
                    plain = kind == "denoiser to latents" or (kind == "denoiser" and not graded)
                    with torch.set_grad_enabled(graded), model.folded({}) if plain else nullcontext():
                        seconds[call].append(_seconds(call, function, model.device))
    finally:
        model.counter = counter
        for parameter in model.parameters():
            parameter.grad = None
    return {call: fmean(taken[1:]) for call, taken in seconds.items()}


def known_seconds(
    calls: Sequence[Call],
    key: Mapping[str, Any],
    measure: Callable[[list[Call]], Mapping[Call, float]],
) -> tuple[dict[Call, float], bool]:
    """Seconds of one call of each kind, from the cache where this machine has measured the kind before.

    Args:
        key: everything that the seconds depend on, without the call.
        measure: measures the kinds that the cache lacks.

    Returns:
        The seconds, and whether any of them came from the cache.
    """
    found = {call: files for call in calls if (files := cache.read(KIND, _with_call(key, call)))}
    seconds = {call: float(json.loads(files[FILE])) for call, files in found.items()}
    if missing := [call for call in calls if call not in seconds]:
        for call, value in measure(missing).items():
            cache.write(KIND, _with_call(key, call), {FILE: json.dumps(value).encode()})
            seconds[call] = value
    return seconds, bool(found)


def _with_call(key: Mapping[str, Any], call: Call) -> dict[str, Any]:
    return {**key, "call": list(call)}


@contextmanager
def _one_adapter(model: DiffusionModel) -> Iterator[None]:
    """A context in which one new adapter of the sequence's settings is active, and trains."""
    active, trained = model.active, model.trained
    model.add_adapter(ADAPTER, seed_key=(0,))
    model.activate({ADAPTER: 1.0}, train=[ADAPTER])
    try:
        yield
    finally:
        model.delete_adapter(ADAPTER)
        model.activate(active, train=trained)


def _seconds(call: Call, function: Callable[[], Tensor], device: torch.device) -> float:
    """The seconds of one call, with its backward pass where the call has a gradient."""
    kind, graded, batch = call
    began = time.perf_counter()
    out = function()
    if graded:
        if not out.requires_grad:  # without its backward pass it would be measured too short
            raise RuntimeError(f"the call {kind} of {batch} has no gradient")
        out.sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def one_call(
    kind: str,
    graded: bool,
    batch: int,
    model: DiffusionModel,
    rewards: Mapping[str, Reward],
    prompts: Sequence[str],
) -> Callable[[], Tensor]:
    """A function that makes one call of a kind, on random latents or on their decoded images."""
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(batch, *model.latent_shape, generator=rng).to(model.device)
    conditions = [prompts[i % len(prompts)] for i in range(batch)]
    if kind.startswith("denoiser"):
        chained = kind != "denoiser"
        return lambda: model.denoise(latents.requires_grad_(chained), 500, conditions)
    if kind == "decode":
        return lambda: model.decode(latents.requires_grad_(graded))
    with torch.no_grad():
        images = model.decode(latents)
    if kind == "encode":
        return lambda: model.encode(images)
    role, _, name = kind.partition(":")
    score = rewards[name].reference if role == "reference" else rewards[name]
    return lambda: score(images.requires_grad_(graded), conditions)
