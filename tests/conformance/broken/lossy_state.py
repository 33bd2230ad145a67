from ril_bench import Method


class LossyState(Method):
    """Its state_dict returns a state that load_state_dict ignores."""

    def bind(self, model):
        self._ended = []

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])

    def end_task(self, task, model):
        self._ended.append(task.name)

    def state_dict(self):
        return {"ended": self._ended}
