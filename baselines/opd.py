"""opd: on-policy distillation from the models that earlier tasks left (Flow-OPD; DiffusionOPD, arXiv 2605.15055)."""

from typing import Annotated

import torch
from pydantic import Field

from ril_bench import Consolidation, Method, Plan
from ril_bench.diffusion.drift import step_kl


class Opd(Method):
    """A LoRA for each reward; then a student, one more LoRA, is trained to predict what the model of each task did.

        loss = mean over tasks j <= i of b^2 |out_theta - out_j|^2 / (2 sigma^2)     on the student's own rollouts

    The student starts as the model after task i, and teacher j is the model after the rewards' training of task j, both
    with all adapters before it. The loss is the KL of a step of the sampler, in nats, as in Flow-OPD [code:
    CostaliyA/Flow-OPD], where each teacher has prompts of its own; in a sequence all share the prompts, so the student
    gets the mean over teachers [ours]. It uses no reward. The sampler needs eta > 0. Carries two adapters a task.
    """

    class Options(Method.Options):
        updates: Annotated[float, Field(ge=0)] = 1.0
        """Updates of the student, as a multiple of one task's budget; not tuned yet [ours]."""
        calls: Annotated[int, Field(ge=1)] = 4
        """Predictions of each rollout that the student learns from; each costs one call of each teacher."""

    needs = frozenset({"random_steps"})

    def bind(self, model):
        self._model = model

    def plan(self, tasks, i):
        student = Consolidation(self.options.updates, self.options.calls) if i > 1 else None
        return Plan(weights={i: 1.0}, consolidation=student)

    def start_task(self, task, model):
        self._train(f"task-{task.index}", task)

    def start_consolidation(self, task, model):
        self._train(f"student-{task.index}", task)

    def _train(self, name, task):
        """Adds an adapter over the present model, and trains it."""
        self._model.add_adapter(name, seed_key=task.key)
        self._model.activate({**self._model.active, name: 1.0}, train=[name])

    def prediction_loss(self, prediction):
        model, inputs = self._model, (prediction.x_t, prediction.t, prediction.prompts, prediction.guidance)
        if not model.trained[0].startswith("student"):
            return None
        names, losses = list(model.active), []
        for end, name in enumerate(names, 1):
            if name.startswith("task"):
                with torch.no_grad(), model.folded(dict.fromkeys(names[:end], 1.0)):
                    teacher = model.predict(*inputs)
                losses.append(step_kl(prediction.sampler, prediction.output, teacher, prediction.step).mean())
        return torch.stack(losses).mean()
