"""The inputs of a run: a digest of everything that its results are made from.

Only this module decides whether two computations are made from the same inputs. A resume, a run that is complete,
the cached step 0 and the steps that runs share all ask it. It looks at contents: other names and folders of the
same contents are no change. This module does not import torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ril_bench import registry
from ril_bench.data import image_sets
from ril_bench.data.prompts import NAMED, SHIPPED, are_here, load_prompts, locate_prompts
from ril_bench.errors import UserError
from ril_bench.machine.compute import Compute
from ril_bench.machine.packages import code_digest, versions
from ril_bench.remote.file import RemoteFile
from ril_bench.remote.model import loaded_files
from ril_bench.remote.published import used_by
from ril_bench.remote.weights import MANIFEST, digests
from ril_bench.sequences.model_folders import local_folder, model_folder
from ril_bench.sequences.spec import Sequence, TaskSpec
from ril_bench.storage.digests import files_below, sha256_json
from ril_bench.storage.known_digests import file_digest
from ril_bench.worlds.table import REAL

#: what a run uses an input for -> {file: SHA-256}
Inputs = dict[str, dict[str, str]]
SETTINGS, MODEL, METHOD, PACKAGES = "settings of the sequence", "model", "method", "packages"
EVALUATION = "prompts of the evaluation"
IMAGES = "images"  # the option of a tuner that names an image set


def inputs_of_method(reference: str) -> Inputs:
    """The code of a method. Raises UserError where there is no such method."""
    return {METHOD: _code("method", reference)}


def inputs_of_settings(sequence: Sequence) -> Inputs:
    """The settings of a sequence. Loaded materials may serve several sequences, which differ in settings alone."""
    return {SETTINGS: {"sequence": sha256_json(_settings(sequence))}}


def inputs_of(sequence: Sequence, *, download: bool = True) -> Inputs:
    """The inputs of a sequence: settings, model, prompts, images, tuners, rewards with their weights, packages.

    Args:
        download: fetches what is missing. Otherwise inputs that are not on this machine are left out.

    Raises what loading the inputs raises.
    """
    found: Inputs = {
        **inputs_of_settings(sequence),
        PACKAGES: {name: text for name, text in versions().items() if name != "python"},
    }
    found[PACKAGES]["code of ril-bench"] = code_digest()
    found[PACKAGES]["weights of ril-bench"] = _shipped_weights()
    folder = model_folder(sequence.model) if download else local_folder(sequence.model)
    if folder is not None:
        found[MODEL] = _model(folder)
    evaluated = _prompts(sequence.prompts.eval, sequence.evaluation.prompts, download)
    found |= _named(EVALUATION, evaluated)
    for i, task in enumerate(sequence.tasks, 1):
        found |= _named(f"prompts of task {i}", _prompts(task.prompts.train, None, download))
        found |= _named(f"images of task {i}", _images(task))
        found |= _named(f"tuner of task {i}", _code("tuner", task.tuner.name))
        found |= _named(f"source of the tuner of task {i}", _source(task.tuner.name))
    for name, reference in sequence.rewards.items():
        found |= _named(f"reward {name}", _reward(sequence, name, reference))
        found |= _named(f"source of the reward {name}", _source(reference))
    return found


def changes(recorded: Inputs, now: Inputs, *, packages: bool = True) -> list[str]:
    """The inputs that differ, in words: "prompts of task 1 (prompts.txt)". Inputs that one side lacks are left out.

    Args:
        packages: whether to compare the packages that compute.
    """
    found = []
    for use in recorded:
        before, after = recorded[use], now.get(use)
        if after is None or (use == PACKAGES and not packages) or before == after:
            continue
        if len(before) == len(after) == 1 and [*before.values()] == [*after.values()]:
            continue  # the same content under another name
        files = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        listed = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        found.append(f"{use} ({listed})" if use != SETTINGS else use)
    return found


def refuse_changes(recorded: Inputs, now: Inputs, where: Path, *, complete: bool) -> None:
    """Raises UserError if an input changed since a run began.

    A complete run is not compared with today's packages: run.json states those that computed it.
    """
    if not (found := changes(recorded, now, packages=not complete)):
        return
    state = "this run is complete, but its inputs changed since" if complete else "inputs of this run changed"
    raise UserError(
        f"{state}: {'; '.join(found)}",
        where=str(where),
        hint="restore them, or start a run of the new ones: with a --label, with another --out, or after deleting "
        "this folder",
    )


# -- keys of what runs share ---------------------------------------------------------------------------------


def step_zero_key(sequence: Sequence, inputs: Inputs, hardware: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that step 0 depends on."""
    settings = _settings(sequence)
    for trained in ("every", "scales"):  # of later steps alone
        settings["evaluation"].pop(trained, None)
    return {
        **{part: settings[part] for part in ("world", "sampler", "evaluation")},
        "rewards": list(sequence.rewards),  # in the order of the tables
        "trained": sorted(sequence.order),
        "inputs": _contents(inputs, [MODEL, EVALUATION, PACKAGES, *_rewards(sequence)]),
        "hardware": dict(hardware),
    }


def unit_key(
    sequence: Sequence, inputs: Inputs, reward: str, prompts: Iterable[str], hardware: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the scores of the pretrained model's images depend on, from which a unit is computed.

    Args:
        reward: its name.
        prompts: the prompt of each image, in order.
    """
    settings = _settings(sequence)
    return {
        **{part: settings[part] for part in ("world", "sampler")},
        "reward": reward,
        "prompts": sha256_json(list(prompts)),
        "inputs": _contents(inputs, [MODEL, PACKAGES, f"reward {reward}"]),
        "hardware": dict(hardware),
    }


def cost_key(
    sequence: Sequence, inputs: Inputs, hardware: Mapping[str, Any], compute: Compute
) -> dict[str, Any]:
    """Everything that the seconds of a call depend on, as far as a program can know it.

    That is no part of a method, and all of `compute`: what saves memory costs time.
    """
    return {
        "adapter": _settings(sequence)["adapter"],
        "size": sequence.sampler.size,
        "compute": compute.model_dump(),
        "inputs": _contents(inputs, [MODEL, EVALUATION, PACKAGES, *_rewards(sequence)]),
        "hardware": dict(hardware),
    }


def steps_key(
    sequence: Sequence,
    method: Mapping[str, Any],
    seed: int,
    inputs: Inputs,
    i: int,
    hardware: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that the steps up to i depend on: `method` has its name and options.

    Excludes names and later tasks, except the rewards that are evaluated.
    """
    settings = _settings(sequence)
    own = [f"{part} of task {k}" for k in range(1, i + 1) for part in ("prompts", "images", "tuner")]
    return {
        **{part: settings[part] for part in ("world", "sampler", "adapter", "unit_images", "evaluation")},
        "tasks": settings["tasks"][:i],
        "trained": sorted(sequence.order),
        "method": dict(method),
        "seed": seed,
        "inputs": _contents(inputs, [MODEL, EVALUATION, PACKAGES, METHOD, *_rewards(sequence), *own]),
        "hardware": dict(hardware),
    }


def _contents(inputs: Inputs, uses: Iterable[str]) -> dict[str, Any]:
    """Inputs as a key holds them: a single file without its name, because another name is no change."""
    chosen = {use: inputs[use] for use in uses if use in inputs}
    return {use: [*files.values()] if len(files) == 1 else files for use, files in chosen.items()}


def _rewards(sequence: Sequence) -> list[str]:
    return [f"reward {name}" for name in sorted(sequence.rewards)]


# -- digests of each kind of input ---------------------------------------------------------------------------


def _settings(sequence: Sequence) -> dict[str, Any]:
    """The settings of a sequence without names of files: the contents of the files are inputs of their own."""
    content = sequence.model_dump(
        mode="json",
        exclude={"model", "prompts", "tuner", "optimizer", "budget", "unit", "units", "calibration"},
    )
    for task in content["tasks"]:
        del task["prompts"]
        task["reward"] = registry.short_name(task["reward"])
        task["tuner"] = {
            name: registry.short_name(value) if name == "name" else value
            for name, value in task["tuner"].items()
            if name != IMAGES or value in image_sets.SHIPPED
        }
    content["evaluation"]["probes"] = sequence.probes
    return content | {"world": sequence.home.name, "unit_images": sequence.unit_images}


def _named(use: str, files: dict[str, str] | None) -> Inputs:
    return {use: files} if files else {}


def _model(folder: Path) -> dict[str, str]:
    """The files that a pipeline is loaded from, by their paths in its folder."""
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in loaded_files(folder)}


def _prompts(reference: str, first: int | None, download: bool) -> dict[str, str] | None:
    """A digest of the prompts themselves: other columns and the layout of their file do not count."""
    on_hub = NAMED.get(reference, reference)
    local = reference in SHIPPED or locate_prompts(reference) is not None
    if not (local or download or (on_hub is None and are_here(reference))):
        return None
    return {Path(reference).name: sha256_json(load_prompts(reference)[:first])}


def _images(task: TaskSpec) -> dict[str, str] | None:
    reference = task.tuner.options.get(IMAGES)
    folder = image_sets.locate_images(reference) if isinstance(reference, str) else None
    if folder is None:
        return None
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in files_below(folder)}


def _reward(sequence: Sequence, name: str, reference: str) -> dict[str, str]:
    """The code of a reward that does not ship, and the weights of any reward."""
    place = registry.locate("reward", reference, sequence.home)
    if isinstance(place, str):  # it ships, and so do its weights, or they are published
        files = used_by(reference) if sequence.home is REAL else []
        return _published(files)
    found = _code("reward", reference)
    for file in sequence.reward(name).weights:
        found |= _published([file]) if isinstance(file, RemoteFile) else digests(file)
    return found


def _source(reference: str) -> dict[str, str]:
    """Whether a tuner or a reward ships, or is a file of the user: both may have one name."""
    return {reference: "own file"} if registry.is_path(reference) else {"ril-bench": "ships"}


def _published(files: Iterable[RemoteFile]) -> dict[str, str]:
    """Published files by name. A file with a known digest is compared with it whenever it is loaded."""
    found = {}
    for file in files:
        path = None if file.sha256 else file.cached_path()
        digest = file.sha256 or (file_digest(path) if path else None)
        if digest:
            found[f"{file.repo}/{file.file}"] = digest
    return found


def _code(kind: str, reference: str) -> dict[str, str]:
    """The files of a method, a tuner or a reward, with the modules that they import from their own folder."""
    files = registry.code(kind, reference)
    folder = Path(os.path.commonpath([file.parent for file in files])) if files else Path()
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in files}


def _shipped_weights() -> str:
    """A digest of the digests of all weights that ship; each file is compared with it when it is loaded."""
    manifests = sorted((Path(__file__).parents[1] / "worlds").glob(f"*/weights/{MANIFEST}"))
    return sha256_json([file_digest(manifest) for manifest in manifests])
