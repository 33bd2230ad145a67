"""Divides by its number of updates."""

from ril_bench import Method


class NeedsAnUpdate(Method):
    """Keeps the mean change of an update."""

    def bind(self, model):
        self._updates = 0

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])

    def after_update(self):
        self._updates += 1

    def end_task(self, task, model):
        self._mean = 1 / self._updates

    def state_dict(self):
        return {"updates": self._updates}

    def load_state_dict(self, state):
        self._updates = state["updates"]
