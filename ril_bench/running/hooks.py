"""Calls the hooks of a method or of a tuner, and blames the hook that leaves the run in another state.

Such a state would show later: as wrong results, or as a failure in code of this package that names nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import iscoroutine, isgenerator
from operator import attrgetter, is_not, itemgetter
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from ril_bench.diffusion.frozen import FrozenWeights, several
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.errors import MethodError
from ril_bench.machine.calls import called, of_package, place_of
from ril_bench.methods import HOOKS, Method
from ril_bench.tuners.base import Tuner

if TYPE_CHECKING:
    from ril_bench.running.training import Training

T = TypeVar("T", Method, Tuner)
#: the hooks that may choose which adapters train; a new optimizer follows them, or none
CHOOSING = {"start_task", "start_consolidation", "end_task"}
OF_TUNERS = {name for name, value in vars(Tuner).items() if callable(value) and not name.startswith("_")}
#: the hooks after which torch's counters of all pretrained weights are compared, which would cost too much after each
#: prediction; checksums find what the others change
COUNTED = {"bind", "load_state_dict", "after_update", *CHOOSING}
FROZEN = "the pretrained weights are frozen: change adapters only, or use model.folded(deltas=...) to add to a weight"
REPLACED = (
    "replaces parameters of an adapter that trains, or changes their shape or format",
    "change their values in place, under torch.no_grad(): the optimizer holds these parameters",
)
FORM = attrgetter("shape", "dtype", "requires_grad")


def watched(owner: T, name: str, model: DiffusionModel, frozen: FrozenWeights) -> T:
    """A method or a tuner whose hooks are watched; one of this package, or one that is watched already, is itself.

    Args:
        name: as the user wrote it.
    """
    if isinstance(owner, _Watched) or of_package(type(author(owner))):
        return owner
    kind, hooks = ("tuner", OF_TUNERS) if isinstance(owner, Tuner) else ("method", HOOKS)
    return cast(T, _Watched(owner, kind, name, hooks, model, frozen))


def author(owner: object) -> Any:
    """The method or tuner itself, without what watches it."""
    while (inner := vars(owner).get("__wrapped__")) is not None:
        owner = inner
    return owner


def place(owner: object, hook: str) -> str:
    """The file and the line of a hook."""
    return place_of(type(author(owner)), hook)


def refuse_changed_weights(training: Training, frozen: FrozenWeights) -> None:
    """Raises MethodError where the bytes of pretrained weights are not those that were loaded."""
    if not (changed := frozen.changed()):
        return
    names = [owner.description for owner in (training.method, training.tuner) if isinstance(owner, _Watched)]
    raise MethodError(
        f"{' or '.join(names) or 'the method'} changed weights of the pretrained model: {several(changed)}",
        where=f"{place(training.method, '')}; seen after update {training.update} of task {training.step}",
        hint=FROZEN,
    )


class _Watched:
    """Passes everything on to a method or to a tuner; after each of its own hooks, compares the state of the run."""

    def __init__(
        self, owner: Any, kind: str, name: str, hooks: Any, model: DiffusionModel, frozen: FrozenWeights
    ):
        self.__wrapped__ = owner
        self.description = f"the {kind} {name}"
        self._hooks, self._model, self._frozen = hooks, model, frozen
        self._trained: _Trained | None = None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__dict__["__wrapped__"], name)
        if name not in self._hooks or of_package(getattr(author(self), name)):
            return value
        return partial(self._called, name, value)

    def _called(self, name: str, hook: Callable[..., Any], *arguments: Any) -> Any:
        if self._trained is None or self._trained.changes != self._model.changes:
            self._trained = _Trained(self._model)
        before = _ModelState(self._model, self._trained)
        result = called(hook, arguments, type(author(self)), name, self._error)
        if (isgenerator(result) and name != "parameters") or iscoroutine(result):
            raise self._fault("returned before its first line ran", name, "write no yield and no async in it")
        if name in COUNTED and (touched := self._frozen.touched()):
            seen = f"{name}, or an earlier hook of the update" if name == "after_update" else name
            what = f"changes weights of the pretrained model: {several(touched)} (in {seen})"
            raise self._error(what, where=place(self, name), hint=FROZEN)
        if fault := before.fault(name):
            raise self._fault(fault[0], name, fault[1])
        return result

    def _fault(self, what: str, hook: str, hint: str) -> MethodError:
        return self._error(f"{what} (in {hook})", where=place(self, hook), hint=hint)

    def _error(self, what: str, *, where: str, hint: str) -> MethodError:
        return MethodError(f"{self.description} {what}", where=where, hint=hint)


class _Trained:
    """The parameters of the adapters that train, as they were after the last change of the adapters.

    Kept between hooks, as it takes far longer to find them than to compare them.
    """

    def __init__(self, model: DiffusionModel):
        self.changes, self.names, self.parameters = model.changes, model.trained, model.parameters()
        self._forms = list(map(FORM, self.parameters))
        holders = [
            _layer(model, path, name) for name in self.names for path in model.adapter_parameters(name)
        ]
        self._held = [
            holder._parameters for holder in holders
        ]  # each has one of the parameters, in the same order

    def fit(self, model: DiffusionModel) -> bool:
        """Whether the same parameters train, with the same shapes and formats."""
        if model.changes != self.changes:
            found = model.parameters()
            if len(found) != len(self.parameters) or any(map(is_not, found, self.parameters)):
                return False
        elif any(map(is_not, map(itemgetter("weight"), self._held), self.parameters)):
            return False
        return list(map(FORM, self.parameters)) == self._forms


class _ModelState:
    """What a hook must leave as it is in a model."""

    def __init__(self, model: DiffusionModel, trained: _Trained):
        self._model, self._trained = model, trained
        self._folded, self._parts = model.is_folded, _parts(model)
        self._counter, self._calls = model.counter, dict(model.counter)

    def fault(self, hook: str) -> tuple[str, str] | None:
        """What is wrong after a hook, and a hint; None where nothing is."""
        model = self._model
        if model.is_folded != self._folded:
            return "leaves adapters folded into the weights", "write `with model.folded(...):`"
        if _parts(model) != self._parts:
            return (
                "replaces a part of the model, or changes its mode",
                "leave model, denoiser and pipe as they are",
            )
        if model.counter is not self._counter or not self._only_grew():
            return (
                "changes the count of the calls",
                "leave model.counter alone: it is the cost that a run reports",
            )
        if hook in CHOOSING:
            return _odd_adapter(model)
        if hook == "bind" and model.adapters:
            return f"adds the adapters {', '.join(model.adapters)}", "add adapters in start_task"
        if set(model.trained) != set(self._trained.names):
            now = ", ".join(model.trained) or "none"
            return (
                f"changes which adapters train, to {now}",
                f"choose them in {', '.join(sorted(CHOOSING))} alone",
            )
        return None if self._trained.fit(model) else REPLACED

    def _only_grew(self) -> bool:
        now = self._model.counter
        return all(now.get(call, 0) >= n for call, n in self._calls.items()) and (
            len(now) == len(self._calls) or all(_is_call(call) for call in now)
        )


def _parts(model: DiffusionModel) -> tuple[Any, ...]:
    pipe = model.pipe
    parts = (id(model.denoiser), id(pipe), id(pipe.vae), model.denoiser.training, pipe.vae.training)
    return (*parts, model.spec, model.device, model.dtype, model.vae_dtype, model.latent_shape)


def _odd_adapter(model: DiffusionModel) -> tuple[str, str] | None:
    """What is wrong with the first adapter whose parameters do not fit its layers; None where all fit."""
    for name, spec in model.adapters.items():
        for path, parameter in model.adapter_parameters(name).items():
            layer: Any = model.denoiser.get_submodule(path.rpartition(".lora_")[0])
            down = (spec.rank, layer.in_features)
            shape = down if ".lora_A." in path else (layer.out_features, spec.rank)
            if tuple(parameter.shape) != shape or parameter.dtype != torch.float32 or parameter.is_meta:
                what = f"gives {path} of the adapter {name} the shape {tuple(parameter.shape)} of {parameter.dtype}"
                return f"{what}; it was {shape} of torch.float32", "change the values of a weight in place"
    return None


def _layer(model: DiffusionModel, path: str, name: str) -> Any:
    """The linear layer that holds a parameter of an adapter."""
    layer, _, factor = path.removesuffix(".weight").rpartition(".")
    return model.denoiser.get_submodule(f"{layer}.{factor}.{name}")


def _is_call(call: object) -> bool:
    return isinstance(call, tuple) and [type(part) for part in call] == [str, bool, int]
