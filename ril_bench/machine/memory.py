"""The C library's allocator: it keeps what updates free, as the next update allocates the same large tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_ON_THE_HEAP = 32 << 20  # bytes; glibc takes no more
NEVER = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Lets glibc keep freed memory. Returns False where the C library is not glibc.

    By default glibc returns an update's activations to the system after the backward call, and the next update
    allocates them again, page by page. This takes a sixth of the training time on two CPU cores. Results are equal.
    [ours, measured]
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, NEVER) and mallopt(M_MMAP_THRESHOLD, LARGEST_ON_THE_HEAP))


def return_freed_memory() -> bool:
    """Returns to the system what glibc keeps now. Returns False where there was nothing, or no glibc."""
    trim = _of_glibc("malloc_trim")
    return trim is not None and bool(trim(0))


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of glibc; None where the C library is another one."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL("libc.so.6"), name)
    except (OSError, AttributeError):
        return None
    return found
