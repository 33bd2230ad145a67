"""naive: one adapter, tuned on from reward to reward. What every method is compared with."""

from ril_bench import Method, train_one_adapter


class Naive(Method):
    """Sequential fine-tuning: theta_i = argmax r_i, started from theta_{i-1}; nothing protects the past."""

    def start_task(self, task, model):
        train_one_adapter(task, model)
