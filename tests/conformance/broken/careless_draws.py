import torch

from ril_bench import Method


class CarelessDraws(Method):
    """It draws noise without a key."""

    def bind(self, model):
        self._model = model

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])

    def adjust_gradients(self):
        for parameter in self._model.parameters():
            parameter.grad.add_(1e-4 * torch.randn_like(parameter))
