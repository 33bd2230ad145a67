"""hft: half fine-tuning (Hui et al. 2024, arXiv 2404.18466)."""

import math
from collections import defaultdict
from typing import Annotated

from pydantic import Field

from ril_bench import Method
from ril_bench.draws import generator


class Hft(Method):
    """One adapter for all tasks; each task trains a random half of the layers in each block, the rest is frozen.

    A block is an attention module; its layers are those that the adapter is on. The halves are drawn again for each
    task. The paper draws among the weight matrices of a transformer block [paper]; here a layer's two factors, whose
    product is its change, are frozen together [ours]. Frozen layers keep the change of earlier tasks. With share 1 this
    is naive. Carries the adapter.
    """

    class Options(Method.Options):
        share: Annotated[float, Field(gt=0, le=1)] = 0.5
        """Share of the layers of each block that a task trains [paper]."""

    def bind(self, model):
        self._model, self._frozen = model, []

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
        blocks, ends = defaultdict(list), model.adapters["adapter"].targets
        for layer in model.delta("adapter"):
            end = next(end for end in ends if f".{layer}".endswith(f".{end}"))
            blocks[layer.removesuffix(end)].append(layer)
        self._frozen = []
        for block, layers in blocks.items():
            drawn = generator(task.key, "frozen", block).permutation(len(layers))
            self._frozen += [layers[k] for k in drawn[math.ceil(self.options.share * len(layers)) :]]

    def adjust_gradients(self):
        # AdamW skips a weight without gradient: it does not even decay.
        weights = self._model.adapter_parameters("adapter")
        for layer in self._frozen:
            weights[f"{layer}.lora_A.weight"].grad = weights[f"{layer}.lora_B.weight"].grad = None

    def state_dict(self):
        return {"frozen": self._frozen}

    def load_state_dict(self, state):
        self._frozen = list(state["frozen"])
