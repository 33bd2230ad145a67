"""What the hooks of a method and of a tuner return, checked where the run takes it: a fault names the hook.

Without these checks the fault would show later, in code of this package, and look like a bug of it.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor, nn

from ril_bench.diffusion.frozen import pretrained_tensors
from ril_bench.diffusion.model import DiffusionModel
from ril_bench.errors import MethodError, RewardError
from ril_bench.machine.calls import OWN, of_package, place_of
from ril_bench.methods import Consolidation, Method, Plan
from ril_bench.rewards.base import Reward
from ril_bench.running.hooks import author, place
from ril_bench.storage.checkpoint import plain
from ril_bench.tuners.base import Log, Tuner

TORCH = str(Path(torch.__file__).parent)
AUTOGRAD = str(Path(TORCH, "autograd"))


def checked_plan(plan: object, method: Method, i: int) -> Plan:
    """The plan of step i."""
    where = _at(method, "plan")
    if not isinstance(plan, Plan):
        raise _wrong("plan returned", plan, "a Plan", "return Plan(weights={i: 1.0})", where)
    if not _weights_fit(plan.weights, i):
        raise MethodError(
            f"step {i} has the weights {plan.weights!r}",
            where=where,
            hint=f"return Plan(weights=...) with positive weights for tasks among 1 to {i}",
        )
    if not method.oracle and (others := sorted(plan.weights.keys() - {i})):
        raise MethodError(
            f"step {i} also trains on {', '.join(f'task {j}' for j in others)}",
            where=where,
            hint="only the reward of task i is there then; a method that uses others states oracle = True",
        )
    for name in ("updates", "start"):
        allowed = get_args(get_type_hints(Plan)[name])
        if (value := getattr(plan, name)) not in allowed:
            raise _wrong(f"the plan's {name} is", value, " or ".join(map(repr, allowed)), None, where)
    if not _positive(plan.extension):
        raise _wrong("the plan's extension is", plan.extension, "a positive number", None, where)
    if not method.oracle and plan.extension != 1:
        raise MethodError(
            f"step {i} may use {plan.extension:g} times the budget of its task",
            where=where,
            hint="leave `extension` out; only an oracle may use more updates",
        )
    if plan.consolidation is not None and not _consolidation_fits(plan.consolidation):
        wanted = "a Consolidation with updates of at least 0 and calls of at least 1"
        raise _wrong("the plan's consolidation is", plan.consolidation, wanted, None, where)
    return plan


def tasks_of_turn(turn: object, weights: Mapping[int, float], owner: object = None) -> Collection[int]:
    """The tasks whose rewards an update raises: those that `turn` chose, or all."""
    if turn is None:
        return weights.keys()
    if (
        isinstance(turn, Collection)
        and not isinstance(turn, str)
        and turn
        and all(j in weights for j in turn)
    ):
        return turn
    wanted = f"numbers among {sorted(weights)}, at least one, or None for all"
    raise _wrong(
        "turn returned", turn, wanted, "choose from the weights that plan returned", _at(owner, "turn")
    )


def trained_parameters(owner: Method | Tuner) -> list[nn.Parameter]:
    """The parameters that a method or a tuner trains besides the adapters."""
    found = owner.parameters()
    parameters = list(found) if isinstance(found, Iterable) else [found]
    for one in parameters:
        if not (isinstance(one, Tensor) and one.is_leaf and one.is_floating_point()) or one.is_meta:
            wanted = "leaf tensors that are trained"
            raise _wrong(
                "parameters returned", one, wanted, "return a list of nn.Parameter", _at(owner, "parameters")
            )
    return parameters


def refuse_weights_of_model(
    owner: Method | Tuner, parameters: Sequence[Tensor], model: DiffusionModel
) -> None:
    """Raises MethodError where a parameter of a method or of a tuner is a weight of the model, or comes twice."""
    of_adapters = {id(p) for name in model.adapters for p in model.adapter_parameters(name).values()}
    pretrained = {_memory(tensor): name for name, tensor in pretrained_tensors(model).items()}
    for k, one in enumerate(parameters):
        name, hint = pretrained.get(_memory(one)), "return only parameters that this class made itself"
        what = f"{name}, a weight of the pretrained model, which is frozen" if name else None
        if id(one) in of_adapters:
            what, hint = "a weight of an adapter", "model.activate(..., train=[...]) lets an adapter train"
        elif any(one is other for other in parameters[:k]):
            what = "the same parameter twice"
        if what:
            raise MethodError(f"parameters returned {what}", where=_at(owner, "parameters"), hint=hint)


def stored_state(owner: Method | Tuner) -> dict[str, Any]:
    """What the `state_dict` of a method or of a tuner returned, as a checkpoint keeps it."""
    state, where = owner.state_dict(), _at(owner, "state_dict")
    if not isinstance(state, Mapping):
        raise _wrong("state_dict returned", state, "a dict", "give each value a name", where)
    try:
        kept: dict[str, Any] = plain(state, "state_dict()")
    except TypeError as error:
        raise MethodError(
            f"the state that a resume needs cannot be stored: {error}",
            where=where,
            hint="return only tensors and plain values (numbers, text, lists, dicts)",
        ) from error
    return kept


def scalar_loss(loss: object, hook: str, owner: object = None) -> Tensor | None:
    """What a hook returned as a loss; None is no loss.

    Raises MethodError also where the loss has no gradient and is not 0: its author thinks that it changes something.
    """
    if loss is None:
        return None
    if isinstance(loss, Tensor) and loss.shape == () and loss.is_floating_point() and not loss.is_meta:
        if not loss.requires_grad and loss.item() != 0:  # 0 is as good as None, as in a first task
            raise MethodError(
                f"{hook} returned {loss.item():.4g} without a gradient, so it would change nothing",
                where=_at(owner, hook),
                hint="compute it from model.adapter_parameters(name), or from the prediction's output: what "
                "torch.no_grad, detach or model.delta return has no gradient. Return None for no loss",
            )
        return loss
    wanted = "a tensor of one floating-point number, of shape (), or None"
    hint = "return the mean, as loss.mean(), or None for no loss"
    raise _wrong(f"{hook} returned", loss, wanted, hint, _at(owner, hook))


@contextmanager
def graph_of(owner: object, hook: str) -> Iterator[None]:
    """Inside, a RuntimeError of autograd is a fault of the loss that a hook returned."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise MethodError(
            f"the backward of what {hook} returned failed: {error}",
            where=_at(owner, hook),
            hint="compute the loss in each call, and change no tensor of its graph in place",
        ) from error


@contextmanager
def graphs_of_update(method: Method, rewards: Sequence[Reward]) -> Iterator[None]:
    """Inside, a RuntimeError of autograd in the code of this package is a fault of a graph that others built.

    Which of them cannot be known: a reward that does not ship is named first, then the method with a `prediction_loss`.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if not files[-1].startswith(AUTOGRAD) or not all(file.startswith((OWN, TORCH)) for file in files):
            raise
        what = f"the backward of an update failed: {error}"
        hint = "compute scores and losses in each call, and change no tensor of their graphs in place"
        if theirs := [reward for reward in rewards if not of_package(type(reward))]:
            what += f"; its graph holds the score of {theirs[0].name}"
            raise RewardError(what, where=place_of(type(theirs[0]), "score"), hint=hint) from error
        if not of_package(getattr(author(method), "prediction_loss", None)):
            what += "; its graph holds what prediction_loss returned"
            raise MethodError(what, where=_at(method, "prediction_loss"), hint=hint) from error
        raise


@contextmanager
def unchanged(tensor: Tensor, owner: object, hook: str) -> Iterator[None]:
    """Raises MethodError where a hook changes a float32 tensor in place that the run goes on to use."""
    before = tensor.detach().clone()
    yield
    if not torch.equal(before.view(torch.int32), tensor.detach().view(torch.int32)):
        raise MethodError(
            f"{hook} changes prediction.output in place",
            where=_at(owner, hook),
            hint="the tuner goes on with it: compute a new tensor, as 2 * output",
        )


def checked_scores(scores: object, samples: int, owner: object = None) -> Tensor | None:
    """What a tuner's `score` returned for a micro-batch of `samples`; None is no scores."""
    if scores is None:
        return None
    if (
        isinstance(scores, Tensor)
        and scores.is_floating_point()
        and scores.dim() == 2
        and scores.shape[1] == samples
        and not scores.is_meta
    ):
        return scores
    wanted = f"a floating-point tensor of shape (copies, {samples}), or None"
    hint = "return the signed scores, a row for each copy and a column for each sample"
    raise _wrong("score returned", scores, wanted, hint, _at(owner, "score"))


def checked_log(log: object, owner: object = None) -> Log:
    """What a tuner's `accumulate` returned."""
    if isinstance(log, Log) and all(isinstance(value, Real) for value in vars(log).values()):
        return log
    wanted = "a Log of three numbers"
    raise _wrong(
        "accumulate returned", log, wanted, "return Log(reward, loss, penalty)", _at(owner, "accumulate")
    )


def _weights_fit(weights: Any, i: int) -> bool:
    return (
        isinstance(weights, Mapping)
        and len(weights) > 0
        and all(j in range(1, i + 1) and _positive(weight) for j, weight in weights.items())
    )


def _consolidation_fits(phase: object) -> bool:
    if not isinstance(phase, Consolidation):
        return False
    return (phase.updates == 0 or _positive(phase.updates)) and _positive(phase.calls)


def _positive(value: object) -> bool:
    return isinstance(value, Real) and 0 < float(value) < math.inf


def _at(owner: object, hook: str) -> str:
    """The file and the line of a hook, with its name; the name alone where nobody is known."""
    return hook if owner is None else f"{place(owner, hook)}, {type(author(owner)).__name__}.{hook}"


def _memory(tensor: Tensor) -> tuple[Any, ...]:
    """What two tensors in the same memory have in common."""
    return tensor.device, tensor.data_ptr() or id(tensor)


def _wrong(what: str, got: object, wanted: str, hint: str | None, where: str) -> MethodError:
    shown = f"a tensor of shape {tuple(got.shape)}" if isinstance(got, Tensor) else repr(got)[:80]
    return MethodError(f"{what} {shown}; it must be {wanted}", where=where, hint=hint)
