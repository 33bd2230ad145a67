"""The toy denoiser of tests/toy.py with low-rank adapters, in float64: what a method sees of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ril_bench import registry
from ril_bench.diffusion.adapter_spec import AdapterSpec
from ril_bench.diffusion.ddim import DDIM
from ril_bench.diffusion.sampler import Prediction, predict_step
from ril_bench.diffusion.states import visited
from ril_bench.methods import Method
from ril_bench.storage.checkpoint import pack, unpack
from tests.toy import ALPHAS_CUMPROD, PROMPTS, SHAPE, DoubleDraws, ToyModel, ToyTask

TARGETS = ("to_q", "to_k", "to_v", "to_out")


class AdaptedToy(ToyModel):
    """eps(x, t, c) = tanh(W x + (1 + t / 1000) c v), W the product of two blocks of four layers, each with adapters.

    The layers are called block.0.to_q, .., block.1.to_out; each is (3, 3). Everything is float64.
    """

    def __init__(self, rank: int = 2, alpha: float = 3.0):
        rng = torch.Generator().manual_seed(0)
        n = SHAPE[0]
        self.spec = AdapterSpec(rank, alpha, TARGETS)
        self.layers = {
            f"block.{i}.{name}": torch.eye(n, dtype=self.dtype)
            + 0.2 * torch.randn(n, n, generator=rng, dtype=self.dtype)
            for i in range(2)
            for name in TARGETS
        }
        self.text = torch.randn(n, generator=rng, dtype=self.dtype)
        self.counter: Counter[Any] = Counter()
        self.adapters: dict[str, AdapterSpec] = {}
        self.active: dict[str, float] = {}
        self.trained: list[str] = []
        self._factors: dict[str, dict[str, Tensor]] = {}
        self._folded: dict[str, Tensor] | None = None
        self._moments: dict[str, Tensor] | None = None

    # -- adapters --------------------------------------------------------------------------------------------

    def add_adapter(self, name: str, *, seed_key: tuple[Any, ...], rank: int | None = None) -> None:
        rank = rank or self.spec.rank
        rng = torch.Generator().manual_seed(len(self.adapters))
        n = SHAPE[0]
        self.adapters[name] = AdapterSpec(rank, self.spec.alpha * rank / self.spec.rank, TARGETS)
        self._factors[name] = {}
        for layer in self.layers:
            down = torch.randn(rank, n, generator=rng, dtype=self.dtype)
            self._factors[name][f"{layer}.lora_A.weight"] = torch.nn.Parameter(down)
            self._factors[name][f"{layer}.lora_B.weight"] = torch.nn.Parameter(torch.zeros(n, rank).double())

    def delete_adapter(self, name: str) -> None:
        del self.adapters[name], self._factors[name]
        self.active.pop(name, None)

    def add_delta(self, name: str, deltas: Mapping[str, Tensor]) -> None:
        self.add_adapter(name, seed_key=(0,), rank=SHAPE[0])
        for layer, delta in deltas.items():
            down, up = self._pair(name, layer)
            down.data = torch.eye(SHAPE[0], dtype=self.dtype)
            up.data = delta * self.spec.rank / self.spec.alpha

    def activate(self, scales: Mapping[str, float], train: Sequence[str] = ()) -> None:
        self.active, self.trained = dict(scales), list(train)
        for name in self.adapters:
            for factor in self._factors[name].values():
                factor.requires_grad_(name in train)
                factor.grad = factor.grad if name in train else None

    def adapter_parameters(self, name: str) -> dict[str, Tensor]:
        return dict(self._factors[name])

    def parameters(self) -> list[Tensor]:
        return [factor for name in self.trained for factor in self._factors[name].values()]

    def delta(self, name: str) -> dict[str, Tensor]:
        return {layer: self._product(name, layer).detach() for layer in self.layers}

    def joined_delta(self) -> dict[str, Tensor]:
        """The change of each layer by all active adapters."""
        parts = [{k: s * d for k, d in self.delta(name).items()} for name, s in self.active.items()]
        return {layer: sum(part[layer] for part in parts) for layer in self.layers}

    def _pair(self, name: str, layer: str) -> tuple[Tensor, Tensor]:
        return tuple(self._factors[name][f"{layer}.lora_{factor}.weight"] for factor in "AB")

    def _product(self, name: str, layer: str) -> Tensor:
        down, up = self._pair(name, layer)
        return self.adapters[name].alpha / self.adapters[name].rank * up @ down

    # -- predictions -----------------------------------------------------------------------------------------

    @property
    def is_folded(self) -> bool:
        return self._folded is not None

    @contextmanager
    def folded(self, scales: Mapping[str, float] | None = None, deltas: Mapping[str, Tensor] | None = None):
        assert self._folded is None
        scales = self.active if scales is None else scales
        self._folded = {
            layer: sum((scale * self._product(name, layer).detach() for name, scale in scales.items()), 0)
            + (deltas or {}).get(layer, 0)
            for layer in self.layers
        }
        try:
            yield
        finally:
            self._folded = None

    def output(self, x: Tensor, t: float, lengths: Tensor, weights: Any = None) -> Tensor:
        rows = x.movedim(1, -1)  # channels last, as a linear layer wants them
        for layer, weight in self.layers.items():
            if self._moments is not None and self._folded is None:
                flat = rows.detach().reshape(-1, SHAPE[0])
                self._moments[layer] = self._moments.get(layer, 0) + flat.T @ flat
            rows = rows @ (weight + self._change(layer)).T
        shift = (1 + t / 1000) * lengths[:, None] * self.text
        return torch.tanh(rows.movedim(-1, 1) + shift[:, :, None, None])

    def _change(self, layer: str) -> Any:
        if self._folded is not None:
            return self._folded[layer]
        return sum((scale * self._product(name, layer) for name, scale in self.active.items()), 0)

    def predict(self, x: Tensor, t: float, prompts: Sequence[str], guidance: float) -> Tensor:
        x, lengths = x.double(), torch.tensor([len(p) / 25 for p in prompts], dtype=self.dtype)
        uncond, cond = self.output(x, t, 0 * lengths), self.output(x, t, lengths)
        eps = uncond + guidance * (cond - uncond)
        self.counter["denoiser", eps.requires_grad] += len(x)
        return eps

    @contextmanager
    def input_moments(self):
        self._moments = {}
        try:
            yield self._moments
        finally:
            self._moments = None


class AdaptedTask(ToyTask):
    """A toy task that also gives the states that a model visits."""

    def states(self, model: Any, n: int):
        draws = DoubleDraws((*self.key, "states"), range(n))
        return visited(model, self.sampler, (PROMPTS * n)[:n], draws, self.guidance)


def adapted_task(index: int = 1, eta: float = 1.0) -> AdaptedTask:
    return AdaptedTask(DDIM(ALPHAS_CUMPROD, 6, eta), index=index, key=(0, index, index))


def baseline(name: str, **options: Any) -> Method:
    """A method that ships, bound to nothing yet."""
    method: Method = registry.load("method", name)(**options)
    return method


def started(method: Method, model: Any, index: int = 1) -> AdaptedTask:
    """Starts a task of a bound method; returns the task."""
    task = adapted_task(index)
    method.start_task(task, model)
    return task


def shaken(model: Any, seed: int = 0, size: float = 0.3) -> None:
    """Moves the trained factors to random values."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for factor in model.parameters():
            factor.add_(size * torch.randn(factor.shape, generator=rng, dtype=factor.dtype))


def prediction(model: Any, task: Any, step: int = 2) -> Prediction:
    """A prediction of the model as it is, for four samples, with its graph."""
    x = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    return predict_step(model, task.sampler, x, step, PROMPTS[:4], task.guidance)


def with_deltas(method: Method, deltas: Sequence[Mapping[str, Tensor]]) -> AdaptedToy:
    """Runs start_task and end_task for each delta, which stands for what the training of that task found."""
    model = AdaptedToy(rank=SHAPE[0], alpha=SHAPE[0])
    method.bind(model)
    for index, found in enumerate(deltas, 1):
        task = started(method, model, index)
        (name,) = model.trained
        for layer, delta in found.items():
            down, up = model._pair(name, layer)
            down.data, up.data = torch.eye(SHAPE[0], dtype=model.dtype), delta.clone()
        method.end_task(task, model)
    return model


def random_deltas(count: int) -> list[dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(7)
    layers = AdaptedToy().layers
    return [
        {layer: torch.randn(*w.shape, generator=rng, dtype=w.dtype) for layer, w in layers.items()}
        for _ in range(count)
    ]


def updated(method: Method, model: Any, task: Any, updates: int = 3, lr: float = 0.05) -> None:
    """Updates in the order that the run has, with AdamW, on the loss mean eps^2 of a fixed state."""
    optimizer = torch.optim.AdamW([*model.parameters(), *method.parameters()], lr=lr)
    for _ in range(updates):
        optimizer.zero_grad(set_to_none=True)
        now = prediction(model, task)
        loss, added = now.output.square().mean(), method.prediction_loss(now)
        (loss if added is None else loss + added).backward()
        if (held := method.weight_loss()) is not None:
            held.backward()
        method.adjust_gradients()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        method.after_update()


def after_tasks(method: Method, tasks: int = 2, **options: Any) -> AdaptedToy:
    """The model after a few updates of each task."""
    model = AdaptedToy()
    method.bind(model)
    for index in range(1, tasks + 1):
        task = started(method, model, index)
        updated(method, model, task, **options)
        method.end_task(task, model)
    return model


def same(a: Any, b: Any) -> bool:
    """Whether two models have the same active change, to the bit."""
    one, other = a.joined_delta(), b.joined_delta()
    return all(torch.equal(one[layer], other[layer]) for layer in one)


def reloaded(method: Method, model: Any) -> Method:
    """A fresh copy of a method, from its stored state."""
    copy = type(method)(**method.options.model_dump())
    copy.bind(model)
    copy.load_state_dict(unpack(pack(method.state_dict())))
    return copy
