from ril_bench import Method


class KeepsAReward(Method):
    """It uses the reward of the first task while the second task is trained."""

    def bind(self, model):
        self._model, self._first = model, None

    def start_task(self, task, model):
        self._first = self._first or task
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])

    def prediction_loss(self, prediction):
        images = self._model.decode(prediction.x0())
        return -1e-3 * self._first.reward(images, prediction.prompts).mean()
