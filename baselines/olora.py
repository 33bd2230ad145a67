"""olora: orthogonal subspaces (O-LoRA, Wang et al. 2023, arXiv 2310.14152)."""

from typing import Annotated

from pydantic import Field

from ril_bench import Method


class OLora(Method):
    """A LoRA for each reward, kept orthogonal to the frozen earlier ones; the sum of all is active.

        loss = strength * sum over layers and earlier tasks j of |A_j A_i^T|^2

    A is (rank, in), so the loss lets the new adapter read other directions of the input than the earlier ones. The
    paper's code has the sum of absolute entries [memory]; the sum of squares is smooth at 0 [ours].
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 1000.0
        """Weight of the loss beside rewards in sigma, as tuned (olora.tuning.json)."""

    def bind(self, model):
        self._model = model

    def start_task(self, task, model):
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({**model.active, name: 1.0}, train=[name])

    def weight_loss(self):
        (new,) = self._model.trained
        earlier = [name for name in self._model.active if name != new]
        overlaps = [
            (self._model.adapter_parameters(name)[layer].detach() @ down.T).square().sum()
            for layer, down in self._model.adapter_parameters(new).items()
            if ".lora_A." in layer
            for name in earlier
        ]
        return self.options.strength * sum(overlaps) if overlaps else None
