from ril_bench import Method


class TouchesTheBase(Method):
    """It changes the pretrained weights at the end of a task."""

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])

    def end_task(self, task, model):
        next(model.pipe.vae.parameters()).data.mul_(1.001)
