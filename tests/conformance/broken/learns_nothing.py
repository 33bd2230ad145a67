from ril_bench import Method


class LearnsNothing(Method):
    """It reverses the sign of all gradients."""

    def bind(self, model):
        self._model = model

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])

    def adjust_gradients(self):
        for parameter in self._model.parameters():
            parameter.grad.neg_()
