"""The state of torch and of the process: results are computed in one, and code of others must leave it as it was."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from ril_bench.errors import UserError


class _Part(NamedTuple):
    """One part of the state.

    Attributes:
        write: sets it; None where nothing can.
        standard: its value in a new process, where other values would change results; None where the caller's stays.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any] | None = None
    standard: Any = None


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
    _Part("grad mode", torch.is_grad_enabled, torch.set_grad_enabled, True),
    _Part("default dtype", torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    _Part("default device", _device, _set_device),
    _Part("number of threads", torch.get_num_threads, torch.set_num_threads),
    _Part(
        "deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    _Part("warn_only", torch.is_deterministic_algorithms_warn_only_enabled, _warn_only),
    _Part(
        "float32 matmul precision",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
        "highest",
    ),
    *(
        _Part(
            f"autocast on the {name}",
            partial(torch.is_autocast_enabled, kind),
            partial(torch.set_autocast_enabled, kind),
            False,
        )
        for name, kind in (("CPU", "cpu"), ("GPU", "cuda"))
    ),
    _Part("backends.mkldnn.enabled", torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled, True),
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


@contextmanager
def standard_state() -> Iterator[None]:
    """Inside, whatever changes results is as in a new process; afterwards, the whole state is the caller's again.

    Raises UserError inside a mode that sees every function of torch: it cannot be left from here.
    """
    if _modes() > (_device().type != "cpu"):  # a default device is such a mode, and is set below
        raise UserError(
            "a mode of torch is open, which sees every function",
            where="the program that called ril_bench",
            hint="call ril_bench outside of the `with` block of the mode",
        )
    before = GlobalState()
    with ExitStack() as stack:
        stack.callback(before.restore)
        stack.enter_context(torch.inference_mode(False))
        if _device().type != "cpu":  # by a `with` block, perhaps, which only another one overrides
            stack.enter_context(torch.device("cpu"))
        for part in PARTS:
            if part.write is not None and part.standard is not None and part.read() != part.standard:
                part.write(part.standard)
        yield
