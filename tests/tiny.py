"""A sequence on a pipeline with random weights, and helpers that run all or parts of it quickly."""

from __future__ import annotations

import copy
import multiprocessing.context
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from ril_bench import registry
from ril_bench.config.settings import parse_settings
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.diffusion.sampler import Prediction
from ril_bench.errors import failure_class
from ril_bench.methods import Method
from ril_bench.reporting.run_page import write_page_after_run
from ril_bench.rewards.base import Reward
from ril_bench.rewards.pixels import Brightness, Symmetry
from ril_bench.running.materials import Materials
from ril_bench.running.plan import plan_run
from ril_bench.running.progress import Reporter
from ril_bench.running.reward_task import RewardTask, Unit
from ril_bench.running.runner import Runner
from ril_bench.running.training import Training
from ril_bench.sequences.spec import TaskSpec
from ril_bench.storage.digests import sha256_json
from ril_bench.studies.grid import grid as grids
from ril_bench.studies.grid.workers import Cell, Failure
from ril_bench.tuners.base import Tuner
from ril_bench.tuners.draft import Draft

#: the method that only adds a new adapter for each task
LoraPerTask = registry.load("method", "lora_per_task")
PROMPTS = ["a red circle", "a large blue star", "small green square on a", "a star above a red square"]
#: updates of a long task, with one checkpoint in its middle
UPDATES, CHECKPOINT_EVERY = 3, 2


def sequence_data(pipeline: Path, prompts: Path) -> dict[str, Any]:
    """Two rewards that need no weights, two updates each."""
    return {
        "name": "tiny",
        "version": 1,
        "model": str(pipeline),
        "prompts": {"train": str(prompts), "eval": str(prompts)},
        "sampler": {"steps": 3, "guidance": 3.0, "eta": 1.0},
        "adapter": {"rank": 2, "alpha": 2, "targets": ["to_q", "to_k", "to_v", "to_out.0"]},
        "tuner": {"name": "draft", "k": 1},
        "optimizer": {"lr": 0.05, "weight_decay": 1e-4, "max_grad_norm": 1.0},
        "budget": {"updates": 2, "batch": 2},
        "units": {"images": 4},
        "tasks": [{"reward": "brightness"}, {"reward": "symmetry"}],
        "evaluation": {"prompts": 3, "images_per_prompt": 2, "seed": 5, "probes": []},
    }


def write_sequence(file: Path, data: Mapping[str, Any], **changes: Any) -> str:
    """The data with some top-level keys changed, as a YAML file; its path."""
    file.write_text(yaml.safe_dump({**copy.deepcopy(dict(data)), **changes}, sort_keys=False))
    return str(file)


def runner(
    sequence: str,
    out: Path,
    method: str = "naive",
    reporter: Reporter | None = None,
    shared: Collection[int] = (),
    account: bool = False,
    repair: bool = False,
    checkpoint_every: int = CHECKPOINT_EVERY,
    materials: Materials | None = None,
    **plan: Any,
) -> Runner:
    """The runner of a plan, with one thread and no output. It does not measure the bare cost, which takes seconds."""
    plan["settings"] = parse_settings(plan.get("settings", {}))
    run_plan = plan_run(sequence, method, **plan)
    return Runner(
        run_plan,
        out,
        threads=1,
        shared=shared,
        reporter=reporter or Reporter(quiet=True),
        account=account,
        repair=repair,
        checkpoint_every=checkpoint_every,
        materials=materials,
    )


def run_in_this_process(patch: pytest.MonkeyPatch) -> None:
    """Makes grids execute their runs one after another in this process, with one thread.

    A new process would take seconds to import torch. Runs of one sequence load its model and rewards once.
    """
    loaded: dict[str, Materials | None] = {}

    def serially(cells: Sequence[Cell], out: Path, **_: Any) -> Iterator[tuple[Cell, Failure | None]]:
        for cell in cells:
            key = sha256_json(cell.plan.sequence.model_dump(mode="json"))
            run = Runner(
                cell.plan,
                out,
                threads=1,
                shared=cell.shared,
                materials=loaded.get(key),
                account=False,
                reporter=Reporter(quiet=True),
            )
            try:
                write_page_after_run(run.execute())
            except Exception as error:
                loaded.pop(key, None)
                yield cell, Failure(failure_class(error), str(error) or repr(error))
                continue
            loaded[key] = run.loaded_materials
            yield cell, None

    patch.setattr("os.cpu_count", lambda: 1)
    patch.setattr(grids, "side_by_side", serially)


def forkserver() -> multiprocessing.context.ForkServerContext:
    """Starts processes from a server that has imported the libraries: a new process would take seconds.

    All tests of a process share the server.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tiny", "peft"])
    return context


def results(folder: Path) -> dict[str, bytes]:
    """The files that must be the same to the byte for equal runs, such as a resumed one."""
    files = [folder / "scores.parquet", folder / "matrix.csv"]
    files += [*folder.glob("step-*/adapter.safetensors"), *folder.glob("step-*/*/*.png")]
    files += [*folder.glob("step-*/drift.parquet"), *folder.glob("step-*/scales.parquet")]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(files)}


def task_spec(**budget: Any) -> TaskSpec:
    return TaskSpec.model_validate(
        {
            "reward": "brightness",
            "prompts": {"train": "shapes/train"},
            "tuner": {"name": "draft"},
            "optimizer": {"lr": 0.05, "weight_decay": 1e-4, "max_grad_norm": 1.0},
            "budget": {"updates": 3, "batch": 2, **budget},
        }
    )


def reward_task(
    model: DiffusionModel,
    index: int = 1,
    reward: Reward | None = None,
    seed: int = 0,
    unit: Unit | None = None,
) -> RewardTask:
    reward = reward or (Brightness() if index % 2 else Symmetry())
    return RewardTask(
        index=index,
        name=reward.name,
        key=(seed, index, index),
        prompts=PROMPTS,
        sampler=model.sampler(3, 1.0),
        guidance=3.0,
        reward_model=reward,
        counter=model.counter,
        unit=unit or Unit(),
    )


def tuner(options: Mapping[str, Any]) -> Tuner:
    """The tuner that a sequence with these options would have."""
    built: Tuner = registry.load("tuner", options["name"])(
        **{key: value for key, value in options.items() if key != "name"}
    )
    return built


def training(
    model: DiffusionModel,
    method: Method,
    step: int = 1,
    *,
    reward: Reward | None = None,
    k: int = 1,
    tuner: Tuner | None = None,
    task: RewardTask | None = None,
    **budget: Any,
) -> Training:
    """The training of a step whose task is started.

    `method` must be bound. The tuner is DRaFT-k by default.
    """
    spec, tuner, task = task_spec(**budget), tuner or Draft(k=k), task or reward_task(model, step, reward)
    method.start_task(task, model)
    tuner.start_task(task, model)
    return Training(
        model=model,
        method=method,
        tuner=tuner,
        spec=spec,
        tasks={step: task},
        weights={step: 1.0},
        updates=spec.budget.updates,
        step=step,
        seed=0,
    )


def bound(method: Method, model: DiffusionModel) -> Method:
    method.bind(model)
    return method


def trained(
    model: DiffusionModel, method: Method, steps: Iterable[int] = (1, 2), **options: Any
) -> list[dict[str, Any]]:
    """Runs all updates of some steps, one after another; returns their log lines."""
    lines: list[dict[str, Any]] = []
    method.bind(model)
    for step in steps:
        of_step = training(model, method, step, **options)
        of_step.run(lines.append)
        method.end_task(of_step.tasks[step], model)
    return lines


class Penalised(LoraPerTask):
    """A method with a loss on the tuner's predictions."""

    def prediction_loss(self, prediction: Prediction) -> Tensor:
        return 3.0 * prediction.x0().square().mean()


def prediction(model: DiffusionModel, step: int = 2) -> Prediction:
    """A prediction of the model as it is, for two samples, with its graph."""
    ddim = model.sampler(3, 1.0)
    x = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    eps = model.predict(x, ddim.timesteps[step], PROMPTS[:2], 3.0)
    return Prediction(x, ddim.timesteps[step], step, PROMPTS[:2], 3.0, eps, ddim)


def shaken(model: DiffusionModel) -> None:
    """Moves the trained adapters away from zero, where half of all gradients vanish."""
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(index)
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


def gradients(model: DiffusionModel) -> Tensor:
    """The gradients of the last update, after clipping, as one vector."""
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def weights(model: DiffusionModel, name: str) -> dict[str, bytes]:
    """The bytes of an adapter."""
    return {key: value.detach().numpy().tobytes() for key, value in model.adapter_parameters(name).items()}
