"""The state of torch and of the process that code of others must leave as it was: later code depends on it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch


class _Part(NamedTuple):
    """One part of the state: its name, how it is read, and how it is set; None where nothing can set it."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any] | None = None


def _attribute(holder: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    return lambda: getattr(holder, name), lambda value: setattr(holder, name, value)


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # the folder has been deleted
        return None


def _warn_only(value: bool) -> None:
    torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled(), warn_only=value)


def _device() -> torch.device:
    # torch 2.6's own getter fails after set_default_device(None)
    return torch.empty(0).device


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # None: no mode, which costs time


def _errors() -> list[Any]:
    """The filters that turn warnings into errors."""
    return [one for one in warnings.filters if one[0] == "error"]


def _modes() -> int:
    """The number of open modes that see every function of torch."""
    inner = torch._C
    return sum(getattr(inner, f"_len_torch_{kind}_stack", lambda: 0)() for kind in ("function", "dispatch"))


PARTS = (
    # the first two first: a mode that is left open also changes the grad mode
    _Part("inference mode", torch.is_inference_mode_enabled),
    _Part("grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    _Part("default dtype", torch.get_default_dtype, torch.set_default_dtype),
    _Part("default device", _device, _set_device),
    _Part("number of threads", torch.get_num_threads, torch.set_num_threads),
    _Part(
        "deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    _Part("warn_only", torch.is_deterministic_algorithms_warn_only_enabled, _warn_only),
    _Part("float32 matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    _Part("autocast on the CPU", lambda: torch.is_autocast_enabled("cpu")),
    _Part("autocast on the GPU", lambda: torch.is_autocast_enabled("cuda")),
    _Part("backends.cudnn.enabled", *_attribute(torch.backends.cudnn, "enabled")),
    _Part("backends.cudnn.deterministic", *_attribute(torch.backends.cudnn, "deterministic")),
    _Part("backends.cudnn.benchmark", *_attribute(torch.backends.cudnn, "benchmark")),
    _Part("backends.cudnn.allow_tf32", *_attribute(torch.backends.cudnn, "allow_tf32")),
    _Part("flash attention", torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp),
    _Part("math attention", torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp),
    _Part(
        "memory-efficient attention",
        torch.backends.cuda.mem_efficient_sdp_enabled,
        torch.backends.cuda.enable_mem_efficient_sdp,
    ),
    _Part("the number of open modes of torch", _modes),
    _Part("numpy's treatment of errors", np.geterr, lambda value: np.seterr(**value)),
    _Part("the list of warnings that are errors", _errors),
    _Part("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    _Part("the current folder", _folder, os.chdir),
)


def _read() -> tuple[Any, ...]:
    return tuple(part.read() for part in PARTS)


class GlobalState:
    """The state at one moment; it takes tens of microseconds to read.

    Not seen: settings without a getter (`torch.set_flush_denormal`), and what no later code of a run uses, such as
    seeds: all draws of a run are keyed.
    """

    def __init__(self) -> None:
        self._values = _read()

    def changes(self) -> list[str]:
        """What has changed since, in words: "grad mode is False, and was True"."""
        now = _read()
        if now == self._values:
            return []
        return [
            f"{part.name} is {after}, and was {before}"
            for part, before, after in zip(PARTS, self._values, now, strict=True)
            if before != after
        ]

    def restore(self) -> None:
        """Sets everything that can be set to the state at that moment, for the process that goes on."""
        for part, value in zip(PARTS, self._values, strict=True):
            with warnings.catch_warnings(), suppress(Exception):  # the failure is already being reported
                warnings.simplefilter("ignore")
                if part.write is not None and part.read() != value:
                    part.write(value)
