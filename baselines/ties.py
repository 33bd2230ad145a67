"""ties: trim, elect signs, merge (TIES-Merging, Yadav et al. 2023, arXiv 2306.01708)."""

from typing import Annotated

import torch
from pydantic import Field

from ril_bench import Method


class Ties(Method):
    """Each reward is tuned alone, from the pretrained model; step i merges the i deltas where their signs agree.

        trimmed_j = the entries of delta_j with the `density` largest magnitudes, 0 elsewhere
        s         = sign(sum_j trimmed_j)
        merged    = scale * mean of the trimmed_j that have sign s, entry by entry

    A delta is trimmed as one vector over all layers [code: prateeky2806/ties-merging]. An entry whose sum is 0 gets 0;
    the code gives it the majority sign of all entries [ours]. The merge has no low rank, so its adapter is large.
    With density 1 and deltas of equal signs this is soup. Carries the delta of each task.
    """

    class Options(Method.Options):
        density: Annotated[float, Field(gt=0, le=1)] = 0.2
        """Share of a delta's entries that is kept [code]."""
        scale: Annotated[float, Field(gt=0)] = 1.0
        """Factor of the merged delta; the paper takes 1 where it cannot be tuned [paper]."""

    def start_task(self, task, model):
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({name: 1.0}, train=[name])

    def end_task(self, task, model):
        if "merged" in model.adapters:
            model.delete_adapter("merged")
        trimmed = [self._trimmed(model.delta(name)) for name in model.adapters]
        model.add_delta("merged", {k: _agreed([each[k] for each in trimmed]) for k in trimmed[0]})
        model.activate({"merged": self.options.scale})

    def _trimmed(self, delta):
        """The delta with its smallest entries set to 0."""
        sizes = torch.cat([change.flatten() for change in delta.values()]).abs()
        least = sizes.topk(max(1, round(self.options.density * len(sizes)))).values[-1]
        return {layer: change * (change.abs() >= least) for layer, change in delta.items()}


def _agreed(deltas):
    """The mean, entry by entry, of the nonzero values that have the sign of the sum."""
    stacked = torch.stack(deltas)
    agree = (stacked.sign() == stacked.sum(0).sign()) & (stacked != 0)
    return (stacked * agree).sum(0) / agree.sum(0).clamp(min=1)
