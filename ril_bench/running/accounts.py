"""The cost of a run: counted calls, bytes, and seconds.

Seconds are also stated as a multiple of the seconds that the calls alone take (`bare_cost`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ril_bench.running import provenance
from ril_bench.running.bare_cost import Call, bare_seconds, known_seconds, unit_seconds
from ril_bench.running.inputs import cost_key

if TYPE_CHECKING:
    from ril_bench.running.materials import Materials

Calls = Counter[Call]


def as_rows(calls: Calls) -> list[list[Any]]:
    """Calls as rows of JSON: [kind, with gradient, batch, number]."""
    return [[*call, number] for call, number in sorted(calls.items())]


def from_rows(rows: Sequence[Sequence[Any]]) -> Calls:
    """The reverse of `as_rows`."""
    return Counter({(kind, graded, batch): number for kind, graded, batch, number in rows})


def samples(calls: Calls, kind: str, *, graded: bool = False) -> int:
    """The sum of calls times batch, over the kinds that begin with `kind`.

    Guidance doubles the batch of an image.
    """
    return sum(
        number * batch
        for (name, has_gradient, batch), number in calls.items()
        if name.startswith(kind) and (has_gradient or not graded)
    )


def spent(calls: Calls) -> dict[str, int]:
    """The numbers of calls, as run.json states them for a step."""
    return {
        "denoiser_forwards": samples(calls, "denoiser"),
        "denoiser_backwards": samples(calls, "denoiser", graded=True),
        "reward_calls": samples(calls, "reward:") + samples(calls, "reference:"),
    }


def tensor_bytes(tree: Any) -> int:
    """The size of all tensors in a tree of dicts and lists."""
    if isinstance(tree, Tensor):
        return tree.numel() * tree.element_size()
    values = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list | tuple) else ()
    return sum(tensor_bytes(value) for value in values)


def cost(steps: Sequence[Mapping[str, Any]], seconds: float, materials: Materials) -> dict[str, float | bool]:
    """Wall time of the training and of the whole run, each also as a multiple of its bare cost.

    Neither time includes the start-up. `bare_cached` states whether an earlier run on this machine measured a part of
    the bare cost.

    Args:
        steps: the steps, as run.json has them.
        seconds: wall time of the whole run.
    """
    trained: Calls = sum((from_rows(step["training_calls"]) for step in steps), Counter())
    counted: Calls = trained + sum((from_rows(step["evaluation_calls"]) for step in steps), Counter())

    def measure(calls: list[Call]) -> Mapping[Call, float]:
        return unit_seconds(calls, materials.model, materials.rewards, materials.eval_prompts)

    units, cached = known_seconds(list(counted), _key(materials), measure)
    training = sum(step["train_seconds"] for step in steps)
    bare, bare_run = bare_seconds(trained, units), bare_seconds(counted, units)
    return {
        "training_seconds": training,
        "training_bare_seconds": bare,
        "training_ratio": training / bare,
        "run_seconds": seconds,
        "run_bare_seconds": bare_run,
        "run_ratio": seconds / bare_run,
        "bare_cached": cached,
    }


def _key(materials: Materials) -> dict[str, Any]:
    """Everything that the seconds of a call of these materials depend on."""
    hardware = provenance.hardware(materials.model.device, materials.compute)
    return cost_key(materials.sequence, materials.inputs, hardware, materials.compute)
