"""Loads the parts of a pipeline that have weights: exactly those in its files, or the part is refused.

Left to themselves, diffusers and transformers give a weight that the files lack random values, and drop one that the
part's config does not use. Both differ between versions in the names that they know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from diffusers import ModelMixin, SchedulerMixin
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, PreTrainedModel, PreTrainedTokenizerBase

from ril_bench.diffusion.stored import FLOATING, Stored, read, stored
from ril_bench.errors import UserError, text_of
from ril_bench.remote.model import weight_files

LIBRARIES = {"diffusers": diffusers, "transformers": transformers}
#: what the class of a part must be, by the beginning of the part's name
BASES: dict[str, type] = {
    "scheduler": SchedulerMixin,
    "tokenizer": PreTrainedTokenizerBase,
    "text_encoder": PreTrainedModel,
    "": ModelMixin,
}
CLIP = (CLIPTextModel, CLIPTextModelWithProjection)
PREFIX = "text_model."
#: the names that the first versions of diffusers gave to the layers of attention, as diffusers itself translates them
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
SHOWN = 3


def class_of(kind: Any, part: str, where: str) -> type:
    """The class of a part. kind: its library and its class, as in model_index.json.

    Raises UserError where it is no class of diffusers or transformers that fits this part; other code is not run.
    """
    found = None
    if isinstance(kind, list | tuple) and len(kind) == 2 and all(isinstance(name, str) for name in kind):
        found = getattr(LIBRARIES.get(kind[0]), kind[1], None)
    base = next(base for start, base in BASES.items() if part.startswith(start))
    if not (isinstance(found, type) and issubclass(found, base)):
        name = ".".join(map(str, kind)) if isinstance(kind, list | tuple) else repr(kind)
        raise UserError(
            f"no {part} of the kind {name[:100]} could be loaded: diffusers and transformers have no such class",
            where=where,
            hint=f"see whether {part} in model_index.json is right, or try newer versions of the libraries",
        )
    return found


def check_part(folder: Path, cls: type) -> nn.Module:
    """The part in a folder, without values.

    Raises UserError where the weights in the files are not those that its config needs.
    """
    part = _empty(folder, cls)
    _matched(part, folder)
    return part


def load_part(folder: Path, cls: type, dtype: torch.dtype) -> nn.Module:
    """The part of a pipeline in a folder, of a class of diffusers or transformers, in evaluation mode.

    Raises UserError where the files lack a weight, have one that the part does not use, or have one in another shape,
    in a format that is not floating, or with a value that is not finite.
    """
    part = _empty(folder, cls)
    takers: dict[Stored, list[str]] = {}
    for name, weight in _matched(part, folder).items():
        takers.setdefault(weight, []).append(name)
    state = {name: values for weight, values in read(takers, dtype) for name in takers[weight]}
    for names in _tied(part):
        if not all(torch.equal(state[name], state[names[0]]) for name in names[1:]):
            raise UserError(
                f"the {folder.name} uses one weight as {' and '.join(names)}, and its files have two",
                where=str(folder),
                hint="get the part again, as the library that saved it wrote it",
            )
    part.load_state_dict(state, assign=True)
    _tie(part)
    return nn.Module.to(part, dtype).eval()  # buffers that no file has, too


def _empty(folder: Path, cls: Any) -> nn.Module:
    """The part as its config describes it; its parameters have shapes but no values."""
    try:
        with init_empty_weights():
            if issubclass(cls, PreTrainedModel):
                part: nn.Module = cls(cls.config_class.from_pretrained(str(folder)))
            else:
                part = cls.from_config(cls.load_config(str(folder)))
    except Exception as error:  # the libraries raise errors of many kinds for values that do not fit
        raise UserError(
            f"no {cls.__name__} can be built from this config: {text_of(error)}"[:500],
            where=str(folder / "config.json"),
            hint="get the model again, as the library that saved it wrote it",
        ) from error
    _tie(part)
    return part


def _tie(part: nn.Module) -> None:
    if isinstance(part, PreTrainedModel):
        part.tie_weights()


def _tied(part: nn.Module) -> list[list[str]]:
    """The names of each parameter and stored buffer; several where it is used in several places."""
    names: dict[int, list[str]] = {}
    for name, value in part.state_dict(keep_vars=True).items():
        names.setdefault(id(value), []).append(name)
    return list(names.values())


def _matched(part: nn.Module, folder: Path) -> dict[str, Stored]:
    """The stored weight of each parameter and stored buffer of a part.

    Raises UserError, with all weights that do not fit, where names or shapes differ, or a format is not floating.
    """
    shapes = {name: tuple(value.shape) for name, value in part.state_dict().items()}
    found = _by_own_names(stored(weight_files(folder)), shapes, folder, clip=isinstance(part, CLIP))
    missing: list[str] = []
    matched: dict[str, Stored] = {}
    for names in _tied(part):
        if sources := [found[name] for name in names if name in found]:
            matched |= {name: found.get(name, sources[0]) for name in names}
        else:
            missing.append(names[0])
    reshaped = [
        f"{weight.name}: file {_shape(weight.shape)}, config {_shape(shapes[name])}"
        for name, weight in matched.items()
        if weight.shape != shapes[name]
    ]
    unused = [found[name].name for name in found.keys() - shapes.keys() - _ignored(part, found)]
    faults = {"missing": missing, "of another shape": reshaped, "not used": unused}
    if any(faults.values()):
        listed = ", ".join(f"{len(names)} {what} ({_some(names)})" for what, names in faults.items() if names)
        raise UserError(
            f"the weights of the {folder.name} are not those that its config.json needs: {listed}",
            where=str(folder),
            hint="get the config.json that belongs to these files, or the model again",
        )
    if wrong := [weight for weight in matched.values() if weight.format not in FLOATING]:
        raise UserError(
            f"{len(wrong)} weights of the {folder.name} are no floating-point numbers: "
            + _some([f"{weight.name}: {weight.format}" for weight in wrong]),
            where=str(wrong[0].file),
            hint="get the weights in float32, float16 or bfloat16, not quantised",
        )
    return matched


def _by_own_names(
    here: Mapping[str, Stored], wanted: Iterable[str], folder: Path, *, clip: bool
) -> dict[str, Stored]:
    """Stored weights under the names that this version of the libraries uses.

    Version 5 of transformers writes `encoder.layers.0...` where version 4 writes `text_model.encoder.layers.0...`.
    """
    wanted = set(wanted)
    by_short = {name.removeprefix(PREFIX): name for name in wanted} if clip else {}
    found: dict[str, Stored] = {}
    for name, weight in here.items():
        own = by_short.get(name.removeprefix(PREFIX), name)
        if own not in wanted and (newer := _newer(name)) in wanted:
            own = newer
        if own in found:
            raise UserError(
                f"the files of the {folder.name} have the same weight under two names: {found[own].name} and {name}",
                where=str(weight.file),
                hint="get the part again, as the library that saved it wrote it",
            )
        found[own] = weight
    return found


def _newer(name: str) -> str:
    """The name today of a weight of attention."""
    path, _, kind = name.rpartition(".")
    path, _, layer = path.rpartition(".")
    return f"{path}.{OLD_NAMES.get(layer, layer)}.{kind}"


def _ignored(part: nn.Module, names: Iterable[str]) -> set[str]:
    """Names that a file may have and a part does not use, as the libraries declare.

    Older versions stored some buffers that newer ones compute, such as the position_ids of CLIP.
    """
    computed = {name.removeprefix(PREFIX) for name, _ in part.named_buffers()}
    declared = getattr(part, "_keys_to_ignore_on_load_unexpected", None) or ()
    return {
        name
        for name in names
        if name.removeprefix(PREFIX) in computed or any(re.search(pattern, name) for pattern in declared)
    }


def _some(texts: Iterable[str]) -> str:
    texts = sorted(texts)
    return ", ".join(texts[:SHOWN]) + (f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"
