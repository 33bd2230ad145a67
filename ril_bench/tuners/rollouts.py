"""What tuners share that learn from the steps of their own rollouts: held trajectories, a reference, a net."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from ril_bench.diffusion.model import DiffusionModel
from ril_bench.tuners.base import Task, Tuner
from ril_bench.tuners.nets import keyed
from ril_bench.tuners.reference import Reference, Which
from ril_bench.tuners.samples import Kept, require_random_steps


class OnRollouts(Tuner):
    """Keeps the trajectories that serve several updates, and what a resume needs of them. Needs random steps."""

    class Options(Tuner.Options):
        #: updates that images serve
        reuse: Annotated[int, Field(ge=1, strict=True)] = 1
        #: the model that the tuner is held to; the papers know one task, where both are the same
        reference: Which = "previous"

    options: Options

    def own_net(self, model: DiffusionModel) -> nn.Module | None:
        """A net that is trained beside the model, its weights drawn under the task's key."""
        return None

    def start_task(self, task: Task, model: DiffusionModel) -> None:
        require_random_steps(task)
        self._reference = Reference(model, self.options.reference)
        with keyed(task.key, "net"):
            self._net = self.own_net(model)
        self._kept = Kept(self.options.reuse)

    def parameters(self) -> Iterable[nn.Parameter]:
        return self._net.parameters() if self._net is not None else []

    def after_update(self, model: DiffusionModel) -> None:
        self._kept.served()

    def state_dict(self) -> dict[str, Any]:
        return {
            "reference": self._reference.lora,
            "net": self._net.state_dict() if self._net is not None else {},
            "kept": self._kept.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._reference.lora = dict(state["reference"])
        if self._net is not None:
            self._net.load_state_dict(state["net"])
        self._kept.restore(state["kept"])
