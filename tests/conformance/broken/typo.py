from ril_bench import Method


class Typo(Method):
    """The name of its hook is misspelt."""

    def start_tasks(self, task, model):
        pass
