"""The device of a run."""

from __future__ import annotations

from ril_bench.errors import UserError


def named_device(name: str) -> str:
    """The device of that name; "auto" is a GPU if there is one.

    Raises UserError if the device cannot be used.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"the device {name!r} cannot be used: {error}", where="--device", hint="cpu always works"
        ) from error
    return name
