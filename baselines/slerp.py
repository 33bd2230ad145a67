"""slerp: spherical merging of models tuned on one reward each (WARP, Rame et al. 2024, arXiv 2406.16768)."""

from typing import Annotated

import torch
from pydantic import Field

from ril_bench import Method

PARALLEL = 1e-4  # below this angle, sin(omega) loses its digits, and the arc is the chord


class Slerp(Method):
    """Each reward is tuned alone, from the pretrained model; its delta is merged into the earlier ones on a sphere.

        slerp(a, b; t) = sin((1-t) omega) / sin(omega) a + sin(t omega) / sin(omega) b,   omega the angle of a and b
        m_i            = slerp(m_{i-1}, delta_i; 1/i), layer by layer        the model: theta_0 + pull * m_i

    Unlike their mean, the merge of nearly orthogonal deltas keeps their length. WARP merges more than two one after
    another, and then goes toward the start [paper]; its moving average is the method ema. Deltas with an angle of 0 or
    180 degrees are averaged, as in soup. Carries the merged delta and no other.
    """

    class Options(Method.Options):
        pull: Annotated[float, Field(gt=0, le=1)] = 1.0
        """The part of the merged change that is kept, as the scale of its adapter; 1 keeps all [ours]."""

    def start_task(self, task, model):
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({name: 1.0}, train=[name])

    def end_task(self, task, model):
        (name,) = model.trained
        merged = model.delta(name)
        if "merged" in model.adapters:
            earlier = model.delta("merged")
            merged = {layer: _slerp(earlier[layer], new, 1 / task.index) for layer, new in merged.items()}
            model.delete_adapter("merged")
        model.delete_adapter(name)
        model.add_delta("merged", merged)
        model.activate({"merged": self.options.pull})


def _slerp(a, b, t):
    """The point at t on the arc from a to b; on the chord where a and b are parallel or one of them is 0."""
    cosine = (a * b).sum() / (a.norm() * b.norm()).clamp(min=torch.finfo(a.dtype).tiny)
    omega = torch.arccos(cosine.clamp(-1, 1))
    if omega.sin() < PARALLEL or not a.any() or not b.any():
        return (1 - t) * a + t * b
    return (((1 - t) * omega).sin() * a + (t * omega).sin() * b) / omega.sin()
