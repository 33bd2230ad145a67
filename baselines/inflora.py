"""inflora: interference-free LoRA (InfLoRA, Liang & Li 2024, arXiv 2404.00228)."""

from typing import Annotated

import torch
from pydantic import Field

from ril_bench import Method


class InfLora(Method):
    """A LoRA for each reward that reads only directions of its inputs that the inputs of earlier tasks lack.

        A_i = the top r left singular vectors of (I - M M^T) C_i, as rows, / sqrt(3)      before task i; fixed
        M   = an orthonormal basis of the layer's inputs in tasks 1 .. i-1                 (GPM)

    C_i is the second moment of a layer's inputs on `samples` states that the model visits; only B trains. After task i,
    M gets the top directions of (I - M M^T) C_i until M holds the share `energy` of the squared singular values of C_i
    [code: liangyanshuo/InfLoRA]. Where M is large, DualGPM stores its complement, the same space; ours stores M. The
    code lets the energy rise to 1 over a known number of tasks [ours: constant]. Carries M and the adapters.
    """

    class Options(Method.Options):
        energy: Annotated[float, Field(gt=0, lt=1)] = 0.95
        """Share of the inputs' energy that M holds, for each task [code]."""
        samples: Annotated[int, Field(ge=1)] = 64
        """Visited states that the moments are measured on."""

    def bind(self, model):
        self._model, self._basis = model, {}  # {layer: M (in, k)}

    def start_task(self, task, model):
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({**model.active, name: 1.0}, train=[name])
        weights = model.adapter_parameters(name)
        for layer, moment in self._moments(task, model).items():
            down = weights[f"{layer}.lora_A.weight"]
            directions = torch.linalg.svd(self._outside(layer, moment)).U[:, : len(down)]
            # A singular vector whose singular value is 0 may lie in M; then the adapter must not read it.
            down.data.zero_()[: directions.shape[1]] = self._outside(layer, directions).T / 3**0.5

    def adjust_gradients(self):
        (name,) = self._model.trained
        for factor, weight in self._model.adapter_parameters(name).items():
            if ".lora_A." in factor:
                weight.grad = None  # AdamW then skips it

    def end_task(self, task, model):
        for layer, moment in self._moments(task, model).items():
            U, S, _ = torch.linalg.svd(self._outside(layer, moment))
            total = torch.linalg.svdvals(moment).square().sum()
            held = total - S.square().sum() + torch.cat([0 * S[:1], S.square().cumsum(0)])  # by 0, 1, .. more
            count = int((held < self.options.energy * total).sum())
            basis = self._basis.get(layer, moment[:, :0])
            self._basis[layer] = torch.cat([basis, U[:, :count]], dim=1)

    def _moments(self, task, model):
        """The second moments of the layers' inputs: {layer: (in, in)}."""
        with model.input_moments() as moments:
            states = sum(1 for _ in task.states(model, self.options.samples))
        return {layer: moment / states for layer, moment in moments.items()}

    def _outside(self, layer, x):
        """(I - M M^T) x."""
        basis = self._basis.get(layer)
        return x if basis is None else x - basis @ (basis.T @ x)

    def state_dict(self):
        return {"basis": self._basis}

    def load_state_dict(self, state):
        self._basis = dict(state["basis"])
