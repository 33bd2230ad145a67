from ril_bench import Method


class ForgetsItsState(Method):
    """After five updates it trains only B. A resume forgets the count, and trains A again."""

    def bind(self, model):
        self._model, self._updates = model, 0

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])

    def adjust_gradients(self):
        for name, weight in self._model.adapter_parameters("adapter").items():
            if self._updates >= 5 and ".lora_A." in name:
                weight.grad.zero_()

    def after_update(self):
        self._updates += 1
