"""replay: a part of the updates goes to earlier rewards, at one task's budget."""

from typing import Annotated

from pydantic import Field

from ril_bench import Method, Plan


class Replay(Method):
    """One adapter for all tasks; a share of the updates trains the earlier rewards, each equally often.  (oracle)

    It uses earlier rewards again, which reward incremental learning forbids.
    """

    oracle = True

    class Options(Method.Options):
        share: Annotated[float, Field(gt=0, lt=1)] = 0.5
        """Share of the updates for all earlier rewards together, from the second task on."""

    def plan(self, tasks, i):
        if i == 1:
            return Plan(weights={1: 1.0})
        old = dict.fromkeys(range(1, i), self.options.share / (i - 1))
        return Plan(weights={**old, i: 1.0 - self.options.share})

    def start_task(self, task, model):
        if "adapter" not in model.adapters:
            model.add_adapter("adapter", seed_key=task.key)
        model.activate({"adapter": 1.0}, train=["adapter"])
