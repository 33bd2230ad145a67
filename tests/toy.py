"""A tiny float64 model, which can be computed by hand, for tests of samplers and tuners."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ril_bench.diffusion.ddim import DDIM
from ril_bench.diffusion.flow import Flow
from ril_bench.diffusion.steps import Sampler
from ril_bench.draws import Draws
from ril_bench.tuners.base import Log, MicroBatch, Tuner

PROMPTS = ["a red circle", "a large blue star", "a", "green square above a star"] * 2
SHAPE = (3, 4, 4)
BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
ALPHAS_CUMPROD = torch.cumprod(1 - BETAS, 0)


class DoubleDraws(Draws):
    """The same numbers in float64, so that all steps of a rollout are in float64."""

    def __getitem__(self, part: slice) -> DoubleDraws:
        return DoubleDraws(self.key, self.samples[part])

    def copy(self, j: int) -> DoubleDraws:
        return DoubleDraws(super().copy(j).key, self.samples)

    def normal(self, *what: Any, shape: Sequence[int]) -> Tensor:
        return super().normal(*what, shape=shape).double()


DRAWS = DoubleDraws((0, 1, 2), range(8))


class ToyModel:
    """out(x, t, c) = tanh(W x + (1 + t / 1000) c v): W mixes the channels, c is the length of the prompt.

    W = W0 + delta and v = v0 + dv. delta and dv train, and are zero in the pretrained model, like an adapter. A
    subclass may override `output`.
    """

    dtype = torch.float64
    device = torch.device("cpu")
    latent_shape = SHAPE
    image_size = (64, 64)  # of the image sets that tests use
    alphas_cumprod = ALPHAS_CUMPROD

    def __init__(self, shake: float = 0.1):
        rng = torch.Generator().manual_seed(0)
        channels = SHAPE[0]
        self.frozen = {
            "W": 0.5 * torch.randn(channels, channels, generator=rng, dtype=self.dtype),
            "v": torch.randn(channels, generator=rng, dtype=self.dtype),
        }
        self.trained = {
            name: (shake * torch.randn(value.shape, generator=rng, dtype=self.dtype)).requires_grad_()
            for name, value in self.frozen.items()
        }
        self.counter: Counter[Any] = Counter()
        self._stand_in: dict[str, Tensor] | None = None

    def parameters(self) -> list[Tensor]:
        return list(self.trained.values())

    @property
    def is_folded(self) -> bool:
        return self._stand_in is not None

    def joined(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.trained.items()}

    @contextmanager
    def folded_lora(self, state: Mapping[str, Tensor]):
        assert self._stand_in is None
        self._stand_in = dict(state)
        try:
            yield
        finally:
            self._stand_in = None

    def folded(self):
        return self.folded_lora(self.joined())

    def folded_once(self):
        return nullcontext() if self.is_folded else self.folded()

    def output(self, x: Tensor, t: float, lengths: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        shift = (1 + t / 1000) * lengths[:, None] * weights["v"]
        return torch.tanh(torch.einsum("dc,nchw->ndhw", weights["W"], x) + shift[:, :, None, None])

    def predict(self, x: Tensor, t: float, prompts: Sequence[str], guidance: float) -> Tensor:
        delta = self.trained if self._stand_in is None else self._stand_in
        weights = {name: value + delta.get(name, 0) for name, value in self.frozen.items()}
        x, lengths = x.double(), torch.tensor([len(p) / 25 for p in prompts], dtype=self.dtype)
        uncond, cond = self.output(x, t, 0 * lengths, weights), self.output(x, t, lengths, weights)
        eps = uncond + guidance * (cond - uncond)
        self.counter["denoiser", eps.requires_grad] += len(x)
        return eps

    def embed(self, prompts: Sequence[str]) -> Tensor:
        return torch.tensor([[[len(prompt) / 25, 1.0]] * 2 for prompt in prompts])

    def decode(self, latents: Tensor) -> Tensor:
        self.counter["decode", latents.requires_grad] += len(latents)
        return torch.sigmoid(latents.double())

    def encode(self, images: Tensor) -> Tensor:
        return torch.logit(images.double(), 1e-6)


def colourful(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """A reward that is not linear and reads the prompt."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    return (images[:, 0] - images[:, 2] * images[:, 1]).square().mean((1, 2)) * lengths


@dataclass
class ToyTask:
    sampler: Sampler
    guidance: float = 3.0
    reward: Any = colourful
    index: int = 1
    name: str = "colourful"
    key: tuple[str | int, ...] = (0, 1, 1)


#: what the toy model predicts -> its sampler
SAMPLERS: dict[str, Callable[[int, float], Sampler]] = {
    "noise": lambda steps, eta: DDIM(ALPHAS_CUMPROD, steps, eta),
    "v": lambda steps, eta: DDIM(ALPHAS_CUMPROD, steps, eta, "v_prediction"),
    "flow": lambda steps, eta: Flow(torch.linspace(1, 0.1, steps).double().tolist(), eta),
}


def toy_task(
    steps: int = 6,
    eta: float = 1.0,
    guidance: float = 3.0,
    reward: Any = colourful,
    predicts: str = "noise",
) -> ToyTask:
    return ToyTask(SAMPLERS[predicts](steps, eta), guidance, reward)


def levels(sampler: Sampler, i: int) -> tuple[Tensor, Tensor]:
    """The factors of x_0 and of the noise before step i, from the timestep alone."""
    t = sampler.timesteps[i]
    if isinstance(sampler, Flow):
        s = torch.tensor(t / 1000, dtype=torch.float64)
        return 1 - s, s
    bar = ALPHAS_CUMPROD[int(t)]
    return bar.sqrt(), (1 - bar).sqrt()


def implied(sampler: Sampler, x: Tensor, out: Tensor, i: int) -> tuple[Tensor, Tensor]:
    """(x0hat, noise) of an output, by the formula of each kind of model."""
    clean, noisy = levels(sampler, i)
    if isinstance(sampler, Flow):
        return x - noisy * out, x + clean * out
    if isinstance(sampler, DDIM) and sampler.predicts == "v_prediction":
        return clean * x - noisy * out, noisy * x + clean * out
    return (x - noisy * out) / clean, out


def update(
    model: Any,
    task: Any,
    tuner: Tuner,
    micro_batch: int = 8,
    penalty: Any = None,
    draws: Draws = DRAWS,
) -> tuple[list[Tensor], Log]:
    """The gradients of one update of eight samples, which are then removed from the model, and its log."""
    parts = [slice(i, i + micro_batch) for i in range(0, 8, micro_batch)]
    batches = [MicroBatch(PROMPTS[part], draws[part], micro_batch / 8, penalty) for part in parts]
    scored = [rewards for batch in batches if (rewards := tuner.score(model, task, batch)) is not None]
    log = Log(0.0, 0.0, 0.0)
    for batch in batches:
        whole = replace(batch, rewards=torch.cat(scored, dim=1) if scored else None)
        log += tuner.accumulate(model, task, whole)
    return taken(model.parameters()), log


def taken(parameters: Any) -> list[Tensor]:
    """The gradients of parameters (zero where there is none), which are then removed."""
    parameters = list(parameters)
    found = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
    for parameter in parameters:
        parameter.grad = None
    return found


def relative_gap(found: Any, expected: Any) -> float:
    flat, reference = (torch.cat([gradient.flatten() for gradient in side]) for side in (found, expected))
    assert reference.norm() > 0
    return float((flat - reference).norm() / reference.norm())


def peak_of_saved(run: Callable[[], object]) -> int:
    """The peak of the bytes of tensors that autograd saves, over all graphs."""
    held = {"now": 0, "most": 0}

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor
            held["now"] += tensor.numel() * tensor.element_size()
            held["most"] = max(held["most"], held["now"])

        def __del__(self):
            held["now"] -= self.tensor.numel() * self.tensor.element_size()

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        run()
    assert held["now"] == 0
    return held["most"]
