"""clora: self-regularised LoRA (C-LoRA, Smith et al. 2023, arXiv 2304.06027)."""

from typing import Annotated

from pydantic import Field

from ril_bench import Method


class CLora(Method):
    """A LoRA for each reward that changes other weights than the frozen earlier ones; the sum of all is active.

        loss = strength * sum over layers of |(sum_j delta_j) * delta_i|^2,   * entry by entry, delta = (alpha/r) B A

    [code: K1nght/T2I-ConBench, without alpha/r]. The more the earlier adapters changed a weight, the more a change of
    it costs. O-LoRA instead compares what the adapters read. Carries the adapters.
    """

    class Options(Method.Options):
        strength: Annotated[float, Field(ge=0)] = 1e4
        """Weight of the loss beside rewards in sigma, as tuned (clora.tuning.json); T2I-ConBench has 1e6 [code]."""

    def bind(self, model):
        self._model = model

    def start_task(self, task, model):
        name = f"task-{task.index}"
        model.add_adapter(name, seed_key=task.key)
        model.activate({**model.active, name: 1.0}, train=[name])

    def weight_loss(self):
        (new,), model = self._model.trained, self._model
        earlier = [model.delta(name) for name in model.active if name != new]
        if not earlier:
            return None
        factors, spec = model.adapter_parameters(new), model.adapters[new]
        return self.options.strength * sum(
            (sum(delta[layer] for delta in earlier) * (spec.alpha / spec.rank) * (up @ down)).square().sum()
            for layer in earlier[0]
            for down, up in [(factors[f"{layer}.lora_A.weight"], factors[f"{layer}.lora_B.weight"])]
        )
