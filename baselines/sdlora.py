"""sdlora: earlier directions stay, their magnitudes train (SD-LoRA, Wu et al. 2025, arXiv 2501.13198)."""

import torch

from ril_bench import Method


class SdLora(Method):
    """A LoRA for each reward; of the earlier ones only the magnitudes train, one number for each of them.

        W = W_0 + sum_{j<i} s_j delta_j + delta_i

    The code divides each earlier delta by |A| |B| and starts its magnitude at .8 in every task [code:
    WuYichen-97/SD-Lora-CL]; here s_j is relative to the delta as trained, and a task begins with the model of the task
    before [ours]. The chain rule gives the gradient: ds_j = sum over layers <dB_j, B_j> / s_j. With the magnitudes held
    at 1 this is lora_per_task. Carries the adapters; their factors are counted as trainable, as they get gradients.
    """

    def bind(self, model):
        self._model, self._magnitudes = model, {}  # {earlier adapter: s, a trained scalar}

    def start_task(self, task, model):
        name = f"task-{task.index}"
        self._magnitudes = {earlier: _scalar(scale, model) for earlier, scale in model.active.items()}
        model.add_adapter(name, seed_key=task.key)
        model.activate({**model.active, name: 1.0}, train=[*model.active, name])

    def parameters(self):
        return list(self._magnitudes.values())

    def adjust_gradients(self):
        for name, magnitude in self._magnitudes.items():
            factors = self._model.adapter_parameters(name)
            ups = [weight for factor, weight in factors.items() if ".lora_B." in factor]
            along = sum((weight.grad * weight.detach()).sum() for weight in ups)
            magnitude.grad = (along / magnitude.detach()).to(magnitude)
            for weight in factors.values():
                weight.grad = None  # AdamW then skips it: the direction is fixed

    def after_update(self):
        scales = {name: magnitude.item() for name, magnitude in self._magnitudes.items()}
        self._model.activate({**self._model.active, **scales}, train=self._model.trained)

    def state_dict(self):
        return {"magnitudes": {name: magnitude.item() for name, magnitude in self._magnitudes.items()}}

    def load_state_dict(self, state):
        self._magnitudes = {name: _scalar(scale, self._model) for name, scale in state["magnitudes"].items()}


def _scalar(value, model):
    return torch.nn.Parameter(torch.tensor(value, dtype=torch.float32, device=model.device))
