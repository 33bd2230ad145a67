"""opcm: orthogonal projection for continual merging (Tang et al. 2025, arXiv 2501.09522)."""

from typing import Annotated

import torch
from pydantic import Field

from ril_bench import Method


class Opcm(Method):
    """Each reward is tuned alone, from the pretrained model; what its delta shares with the merged one is left out.

        U S V^T = merged_{i-1}                         in each layer, with full U and V
        P       = U^T delta_i V, 0 on its diagonal and in its leading k x k block
        merged  = lambda_{i-1} merged_{i-1} + U P V^T, scaled to the mean norm of delta_1 .. delta_i
        lambda_i = the factor that this scaling divides by

    k is the number of the largest singular values whose sum stays within `alpha` of the sum of all. Norms are over all
    layers together [code: tanganke/opcm]. That code zeroes the diagonal of a copy, so its P keeps the diagonal; we
    follow the equation. Carries the merged delta; the norms of the earlier deltas are two numbers.
    """

    class Options(Method.Options):
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
        """Share of the singular values that protects a block of the merged delta [paper]."""

    def bind(self, model):
        self._factor = 1.0  # lambda of the last merge
        self._norms = 0.0  # sum of the norms of the deltas so far

    def start_task(self, task, model):
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({name: 1.0}, train=[name])

    def end_task(self, task, model):
        (name,) = model.trained
        merged = model.delta(name)
        self._norms += _norm(merged)
        if "merged" in model.adapters:
            earlier = model.delta("merged")
            merged = {k: self._factor * earlier[k] + self._new(earlier[k], new) for k, new in merged.items()}
            norm, mean = _norm(merged), self._norms / task.index
            self._factor = norm / mean if norm else 1.0  # without any update, all deltas are 0
            merged = {layer: delta / self._factor for layer, delta in merged.items()}
            model.delete_adapter("merged")
        model.delete_adapter(name)
        model.add_delta("merged", merged)
        model.activate({"merged": 1.0})

    def _new(self, earlier, delta):
        """The part of a delta that lies outside the earlier one's singular directions."""
        U, S, V = torch.linalg.svd(earlier)
        k = int((S.cumsum(0) <= self.options.alpha * S.sum()).sum())
        P = U.T @ delta @ V.T
        P.fill_diagonal_(0)
        P[:k, :k] = 0
        return U @ P @ V

    def state_dict(self):
        return {"factor": self._factor, "norms": self._norms}

    def load_state_dict(self, state):
        self._factor, self._norms = state["factor"], state["norms"]


def _norm(delta):
    """The norm of a delta over all layers together."""
    return torch.stack([change.norm() for change in delta.values()]).norm().item()
