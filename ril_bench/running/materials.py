"""The objects that a run needs in memory: model, rewards, prompts, evaluator."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial

import torch

from ril_bench import registry
from ril_bench.data.prompts import load_prompts
from ril_bench.diffusion.frozen import FrozenWeights
from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.errors import RewardError, SequenceError, UserError
from ril_bench.machine.calls import called
from ril_bench.machine.compute import PLAIN, Compute
from ril_bench.machine.memory import keep_freed_memory
from ril_bench.remote.weights import digests, refuse_unusable, verified
from ril_bench.rewards.base import Reward, lacks_score
from ril_bench.running.evaluation import Evaluator
from ril_bench.running.hooks import watched
from ril_bench.running.inputs import Inputs, changes, inputs_of
from ril_bench.running.reward_task import RewardTask, Unit
from ril_bench.sequences.model_folders import model_digests, model_folder
from ril_bench.sequences.spec import Sequence, TaskSpec
from ril_bench.tuners.base import Tuner
from ril_bench.tuners.sampler_needs import check_sampler


@dataclass(frozen=True)
class Materials:
    """The loaded model and rewards of a sequence, its prompts, and the evaluator."""

    sequence: Sequence
    model: DiffusionModel
    frozen: FrozenWeights  # as they were when the model was loaded
    rewards: dict[str, Reward]  # tasks in order, then probes
    train_prompts: dict[str, tuple[str, ...]]  # by reference; code of others sees them
    eval_prompts: list[str]
    evaluator: Evaluator
    compute: Compute
    model_weights: dict[str, str]  # file -> sha256
    reward_weights: dict[str, dict[str, str]]  # file -> sha256, by the name of the reward
    inputs: Inputs

    @classmethod
    def load(cls, sequence: Sequence, device: torch.device, compute: Compute = PLAIN) -> Materials:
        """Loads the materials of a sequence.

        Raises UserError for missing or altered weights, for too few prompts, and for other faults of the
        sequence.
        """
        if device.type == "cpu":
            keep_freed_memory()
        inputs = inputs_of(sequence)
        place = verified(model_folder(sequence.model))
        model = DiffusionModel.load(
            place,
            adapter=AdapterSpec(**sequence.adapter.model_dump()),
            device=device,
            compute=compute,
            size=sequence.sampler.size,
        )
        rewards = {name: _reward(sequence, name, device) for name in sequence.rewards}
        prompts = load_prompts(sequence.prompts.eval)
        if len(prompts) < sequence.evaluation.prompts:
            raise SequenceError(
                f"the evaluation asks for {sequence.evaluation.prompts} prompts; there are {len(prompts)}",
                where=f"evaluation.prompts, {sequence.prompts.eval}",
                hint=f"set evaluation.prompts to at most {len(prompts)}",
            )
        prompts = prompts[: sequence.evaluation.prompts]
        loaded = cls(
            sequence=sequence,
            model=model,
            frozen=FrozenWeights(model),
            rewards=rewards,
            train_prompts={
                name: tuple(load_prompts(name)) for name in {t.prompts.train for t in sequence.tasks}
            },
            eval_prompts=prompts,
            evaluator=Evaluator(model, rewards, sequence, prompts),
            compute=compute,
            model_weights=model_digests(sequence.model, place),
            reward_weights={
                name: {file: sha for part in reward.weights for file, sha in digests(part).items()}
                for name, reward in rewards.items()
            },
            inputs=inputs,
        )
        if changed := changes(inputs, inputs_of(sequence)):
            raise UserError(
                f"inputs changed while they were loaded: {'; '.join(changed)}",
                where=str(sequence.name),
                hint="run it again when the files are complete",
            )
        return loaded

    @property
    def weights(self) -> dict[str, str]:
        """{file: sha256} of everything that a score depends on."""
        return {
            file: sha
            for files in (self.model_weights, *self.reward_weights.values())
            for file, sha in files.items()
        }

    def tuner(self, i: int) -> Tuner:
        """A new tuner for task i, whose hooks are watched.

        Raises UserError if an option is wrong, or if the tuner cannot raise the task's reward.
        """
        spec = self.sequence.task(i)
        tuner = new_tuner(self.sequence, i, self.rewards[spec.name])
        return watched(tuner, registry.short_name(spec.tuner.name), self.model, self.frozen)

    def check_tuners(self) -> None:
        """Raises UserError for the first task whose tuner cannot train the task with its options."""
        for i in range(1, len(self.sequence.tasks) + 1):
            self.tuner(i).start_task(self.task(i, step=i, seed=0, unit=Unit()), self.model)

    def task(self, i: int, *, step: int, seed: int, unit: Unit) -> RewardTask:
        """Task i, as it is trained in step `step` of a run."""
        spec = self.sequence.task(i)
        return RewardTask(
            index=i,
            name=spec.name,
            key=(seed, step, i),
            prompts=self.train_prompts[spec.prompts.train],
            sampler=self.evaluator.sampler,
            guidance=self.sequence.sampler.guidance,
            reward_model=self.rewards[spec.name],
            counter=self.model.counter,
            unit=unit,
        )


def _reward(sequence: Sequence, name: str, device: torch.device) -> Reward:
    """Builds a reward. Raises RewardError where its class does not fit, UserError where a file of it is not there."""
    cls: type[Reward] = sequence.reward(name)
    known = inspect.signature(cls.__init__).parameters.values()
    takes_device = any(one.name == "device" or one.kind is one.VAR_KEYWORD for one in known)
    lacks = [f'{each} = "some text"' for each in ("name", "unit") if not hasattr(cls, each)]
    lacks += [] if takes_device else ['def __init__(self, device="cpu")']
    if lacks:
        raise RewardError(
            f"the class of the reward {name} is not complete",
            where=f"{inspect.getfile(cls)}, class {cls.__name__}",
            hint=f"write {', and '.join(lacks)}",
        )

    def blame(what: str, *, where: str, hint: str) -> RewardError:
        return RewardError(f"the reward {name} {what}", where=where, hint=hint)

    if name in sequence.order and cls.score is Reward.score:
        raise lacks_score(cls)
    for file in cls.weights:
        refuse_unusable(file)
    return called(partial(cls, device=device), (), cls, "__init__", blame)


def tuner_of(spec: TaskSpec) -> Tuner:
    """The tuner that a task names. Raises UserError if its options are wrong."""
    tuner: Tuner = registry.load("tuner", spec.tuner.name)(**spec.tuner.options)
    return tuner


def new_tuner(sequence: Sequence, i: int, reward: Reward | type[Reward]) -> Tuner:
    """The tuner of task i.

    Raises UserError if its options are wrong, if it needs a gradient and the reward has none, if it needs another eta
    of the sampler, or if the task has a criterion and the tuner does not learn from the reward.
    """
    spec = sequence.task(i)
    tuner = tuner_of(spec)
    if "reward_gradient" in tuner.needs and not reward.differentiable:
        raise SequenceError(
            f"the tuner {spec.tuner.name} needs the gradient of the reward, and {spec.name} has none",
            where=f"tasks.{i}",
            hint=f"choose a differentiable reward, or one of the tuners {', '.join(gradient_free())}",
        )
    check_sampler(tuner.needs, sequence.sampler.eta, f"the tuner {spec.tuner.name}")
    if spec.budget.until and not tuner.needs & {"reward", "reward_gradient"}:
        raise UserError(
            f"the tuner {spec.tuner.name} does not raise {spec.name}, so it cannot train until a gain",
            where=f"tasks.{i}.budget.until",
            hint="leave `until` out, or choose a tuner that learns from the reward",
        )
    return tuner


def gradient_free() -> list[str]:
    """The tuners of this package that do not need the gradient of the reward."""
    shipped = [name for name in registry.names("tuner") if isinstance(registry.locate("tuner", name), str)]
    return [name for name in shipped if "reward_gradient" not in registry.load("tuner", name).needs]
