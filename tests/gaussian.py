"""A model whose images are normally distributed, with the closed form of its tilted distributions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ril_bench.diffusion.steps import Sampler
from tests.toy import SHAPE, ToyModel

W = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64)


def linear_reward(images: Tensor, prompts: object) -> Tensor:
    return (images * W[:, None, None]).sum((1, 2, 3))


class Gaussian(ToyModel):
    """The exact denoiser of data ~ N(mean, variance), plus shift_i + gain_i x at step i, which train.

    Its images are its latents. shift and gain have the shape (steps, channels).
    """

    mean, variance = 0.7, 0.3

    def __init__(self, sampler: Sampler):
        super().__init__()
        self.sampler = sampler
        self.frozen = {
            name: torch.zeros(sampler.steps, SHAPE[0], dtype=torch.float64) for name in ("shift", "gain")
        }
        self.trained = {name: zero.clone().requires_grad_() for name, zero in self.frozen.items()}

    def slope(self, i: int) -> float:
        """The regression of the denoiser's target p n + q x_0 on x at step i."""
        (p, q), signal, level = (
            each[i] for each in (self.sampler.targets, self.sampler.signal, self.sampler.level)
        )
        return (p * level + q * signal * self.variance) / (signal**2 * self.variance + level**2)

    def offset(self, i: int) -> float:
        """The mean of the target at step i, minus slope times the mean of x."""
        return (self.sampler.targets[i][1] - self.slope(i) * self.sampler.signal[i]) * self.mean

    def output(self, x: Tensor, t: float, lengths: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        i = self.sampler.timesteps.index(t)
        shift, gain = (weights[name][i][:, None, None] for name in ("shift", "gain"))
        return (self.slope(i) + gain) * x + self.offset(i) + shift

    def decode(self, latents: Tensor) -> Tensor:
        return latents

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance (channels,) of the images that the sampler makes of the trained model."""
        sampler = self.sampler
        mean, variance = torch.zeros(SHAPE[0]).double(), torch.ones(SHAPE[0]).double()
        for i in range(sampler.steps):
            shift, gain = (self.trained[name].detach()[i] for name in ("shift", "gain"))
            slope = sampler.a[i] + sampler.b[i] * (self.slope(i) + gain)
            mean = slope * mean + sampler.b[i] * (self.offset(i) + shift)
            variance = slope**2 * variance + sampler.sigma[i] ** 2
        return mean, variance
