"""A model whose images are normally distributed, with the closed form of its tilted distributions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ril_bench.diffusion.sampler import DDIM
from tests.toy import SHAPE, ToyModel

W = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64)


def linear_reward(images: Tensor, prompts: object) -> Tensor:
    return (images * W[:, None, None]).sum((1, 2, 3))


class Gaussian(ToyModel):
    """The exact denoiser of data ~ N(mean, variance), plus shift_i + gain_i x at step i, which train.

    Its images are its latents. shift and gain have the shape (steps, channels).
    """

    mean, variance = 0.7, 0.3

    def __init__(self, ddim: DDIM):
        super().__init__()
        self.ddim = ddim
        self.frozen = {
            name: torch.zeros(ddim.steps, SHAPE[0], dtype=torch.float64) for name in ("shift", "gain")
        }
        self.trained = {name: zero.clone().requires_grad_() for name, zero in self.frozen.items()}

    def slope(self, t: int) -> float:
        bar = float(self.alphas_cumprod[t])
        return math.sqrt(1 - bar) / (bar * self.variance + 1 - bar)

    def noise(self, x: Tensor, t: int, lengths: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        shift, gain = (
            weights[name][self.ddim.timesteps.index(t)][:, None, None] for name in ("shift", "gain")
        )
        bar = float(self.alphas_cumprod[t])
        return self.slope(t) * (x - math.sqrt(bar) * self.mean) + shift + gain * x

    def decode(self, latents: Tensor) -> Tensor:
        return latents

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance (channels,) of the images that the sampler makes of the trained model."""
        ddim = self.ddim
        mean, variance = torch.zeros(SHAPE[0]).double(), torch.ones(SHAPE[0]).double()
        for i, t in enumerate(ddim.timesteps):
            shift, gain = (self.trained[name].detach()[i] for name in ("shift", "gain"))
            offset = shift - self.slope(t) * math.sqrt(float(self.alphas_cumprod[t])) * self.mean
            slope = ddim.a[i] + ddim.b[i] * (self.slope(t) + gain)
            mean, variance = slope * mean + ddim.b[i] * offset, slope**2 * variance + ddim.sigma[i] ** 2
        return mean, variance
