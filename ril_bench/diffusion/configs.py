"""Checks of a model's folder, from its configs, its tokenizers and the headers of its files; loads no weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ril_bench.diffusion.ddim import LEAST_TIMESTEPS, alphas_of, check_schedule
from ril_bench.diffusion.families import Family, check_positions, family_called, latent_size
from ril_bench.diffusion.fit import check_fit
from ril_bench.diffusion.flow import check_flow
from ril_bench.diffusion.parts import check_part, class_of
from ril_bench.errors import UserError
from ril_bench.remote.model import weight_files
from ril_bench.remote.weights import refuse_pointer

#: what diffusers calls the schedules of betas that its DDIM has
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
LARGEST = 100_000  # timesteps
LIMIT = sys.float_info.max


def check_folder(folder: Path) -> type[Family]:
    """The family of the pipeline in a folder.

    Raises UserError for the first part that is missing or does not fit.
    """
    index = folder / "model_index.json"
    family = family_called((kinds := read_config(index)).get("_class_name"), where=str(index))
    check_scheduler = _check_flow if family.flow else _check_betas
    check_scheduler(folder / "scheduler" / "scheduler_config.json")
    if family.flow and isinstance(kind := kinds.get("scheduler"), list) and len(kind) == 2:
        check_flow({"_class_name": kind[1]}, where=str(index))  # diffusers loads the class of the index
    absent = absent_parts(folder, family)
    classes = {
        part: class_of(kinds.get(part), part, str(index))
        for part in ("scheduler", *family.weights, *family.tokenizers)
        if part not in absent
    }
    with_weights = [part for part in family.weights if part in classes]
    for part in with_weights:
        _check_weights(folder / part)
    for part in (part for part in family.tokenizers if part in classes):
        files = [file for file in (folder / part).glob("*") if file.is_file()]
        if not files:
            raise _wrong(f"the model has no {part}", folder / part)
        for file in files:
            refuse_pointer(file)
    _check_denoiser(folder / family.denoiser / "config.json", family)
    _check_autoencoder(folder / "vae" / "config.json")
    check_fit(
        {part: check_part(folder / part, classes[part]) for part in with_weights}, classes, family, folder
    )
    return family


def absent_parts(folder: Path, family: type[Family]) -> list[str]:
    """The optional parts of a family that a pipeline's folder does not have, by its index."""
    index = read_config(folder / "model_index.json")
    kinds = {part: index.get(part) for part in family.optional}
    return [part for part, kind in kinds.items() if not (isinstance(kind, list) and any(kind))]


def read_config(file: Path) -> dict[str, Any]:
    """The object in a config of a model. Raises UserError where it cannot be read."""
    try:
        refuse_pointer(file)
        content = json.loads(file.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("expected a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(f"this file of the model cannot be read: {error}", file) from error
    return content


def _check_flow(file: Path) -> None:
    """Raises UserError where the scheduler of a model takes no Euler steps of a flow, or a value does not fit."""
    config = read_config(file)
    check_flow(config)
    timesteps = config.get("num_train_timesteps", 1000)
    fits = {"num_train_timesteps": _is_count(timesteps) and timesteps >= LEAST_TIMESTEPS}
    for key, default in {"shift": 1.0, "base_shift": 0.5, "max_shift": 1.15, "shift_terminal": 0.1}.items():
        value = config.get(key, default)
        fits[key] = (value is None and key != "shift") or (_is_number(value) and value > 0)
    fits["shift_terminal"] &= config.get("shift_terminal") is None or config["shift_terminal"] < 1
    lengths = [config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)]
    fits["base_image_seq_len"], fits["max_image_seq_len"] = map(_is_count, lengths)
    if config.get("use_dynamic_shifting") and all(fits.values()):
        fits["max_image_seq_len"] = lengths[0] < lengths[1]
        for key in ("base_shift", "max_shift"):
            fits[key] = key not in config or config[key] is not None
    _refuse(fits, config, file)


def _check_betas(file: Path) -> None:
    """Raises UserError where the scheduler of a model has no betas, so that no DDIM sampler fits it."""
    config = read_config(file)
    if "beta_start" not in config and config.get("trained_betas") is None:
        raise UserError(
            f"the scheduler {config.get('_class_name')} of the model has no betas",
            where=str(file),
            hint="choose a model whose scheduler has beta_start, beta_end and prediction_type, as DDIMScheduler has",
        )
    if (betas := config.get("trained_betas")) is not None:
        fits = {"trained_betas": _is_list(betas) and all(0 < beta < 1 for beta in betas)}
    else:
        fits = {
            key: _is_number(config.get(key, 0.01)) and 0 < config.get(key, 0.01) < 1
            for key in ("beta_start", "beta_end")
        }
    timesteps = config.get("num_train_timesteps", 1000)
    fits["num_train_timesteps"] = _is_count(timesteps) and timesteps >= LEAST_TIMESTEPS
    fits["beta_schedule"] = config.get("beta_schedule", "linear") in BETA_SCHEDULES
    _refuse(fits, config, file)
    check_schedule(config)
    alphas_of(config)


def _check_weights(part: Path) -> None:
    """Raises UserError where a part of a model has no weights that can be loaded."""
    files = weight_files(part)
    read_config(part / "config.json")
    if not files:
        others = sorted(file.name for file in [*part.glob("*.safetensors"), *part.glob("*.bin")])
        kind = "a pickle"
        if any(name.endswith(".safetensors") for name in others):
            kind = "shards without their index" if "-of-" in others[0] else "a variant"
        raise UserError(
            f"the weights of {part.name} are here only as {kind}: {others[0]}"
            if others
            else f"the model has no weights of {part.name}",
            where=str(part),
            hint="get the safetensors files in full precision, without a variant; "
            "--compute dtype=bfloat16 saves memory",
        )
    for file in files:
        refuse_pointer(file)


def _check_denoiser(file: Path, family: type[Family]) -> None:
    """Raises UserError where the size of the latents, or of a patch of them, is missing or does not fit."""
    config = read_config(file)
    sides = latent_size(config)
    if family.flow:
        patch: Any = config.get("patch_size")
        fits = _is_count(patch) and not any(side % patch for side in sides)
        _refuse({"patch_size": fits}, config, file)
        check_positions(config, max(sides))


def _check_autoencoder(file: Path) -> None:
    """Raises UserError where the scales of the latents are no numbers."""
    config = read_config(file)
    factor = config.get("scaling_factor", 1.0)
    shift = config.get("shift_factor")
    fits = {
        "scaling_factor": _is_number(factor) and factor > 0,
        "shift_factor": shift is None or _is_number(shift),
    }
    for key in ("latents_mean", "latents_std"):
        fits[key] = config.get(key) is None or (
            _is_list(config[key]) and len(config[key]) == config.get("latent_channels", 4)
        )
    fits["latents_std"] = fits["latents_std"] and all(std > 0 for std in config.get("latents_std") or ())
    _refuse(fits, config, file)


def _refuse(fits: Mapping[str, bool], config: Mapping[str, Any], file: Path) -> None:
    if wrong := [f"{key}: {config.get(key)!r}"[:100] for key, fit in fits.items() if not fit]:
        raise _wrong(f"a value of this config does not fit: {', '.join(wrong)}"[:300], file)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= LARGEST


def _is_number(value: Any) -> bool:
    # a whole number may be larger than any float
    return isinstance(value, int | float) and not isinstance(value, bool) and -LIMIT <= value <= LIMIT


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


def _wrong(what: str, where: Path) -> UserError:
    hint = "get the model again, as diffusers saved it"
    if where.name == "model_index.json":
        hint = "name a folder in which diffusers saved a pipeline"
    return UserError(what, where=str(where), hint=hint)
