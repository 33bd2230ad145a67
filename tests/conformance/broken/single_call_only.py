from ril_bench import Method


class SingleCallOnly(Method):
    """It assumes that an update has only one call with a gradient."""

    def bind(self, model):
        self._called = False

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])

    def prediction_loss(self, prediction):
        assert not self._called, "a second call"
        self._called = True

    def after_update(self):
        self._called = False
