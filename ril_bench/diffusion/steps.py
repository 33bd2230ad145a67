"""The steps of a sampler, as tables over what the denoiser predicts: noise, or a velocity."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Sequence
from itertools import pairwise

from torch import Tensor

from ril_bench.errors import UserError

#: (p, q): the denoiser predicts p n + q x_0, where n is the noise in x_t and x_0 the clean latents
Target = tuple[float, float]
LARGEST = 3.4e38  # of float32, in which latents are computed


class Sampler:
    """The steps x_s = a x_t + b out + sigma n of a sampler, as tables over the step i = 0 .. steps - 1.

    Step i starts from x_t = signal x_0 + level n. The denoiser's output `out` is its estimate of p n + q x_0; noise is
    (1, 0). With d = p signal - q level,

        x0hat = (p x_t - level out) / d,    noise = (signal out - q x_t) / d,

    so everything is linear in `out`. All tables are float64. A subclass computes them for one kind of model. [ours]

    Attributes:
        eta: how random the steps are, in [0, 1]; 0 is deterministic. Where eta > 0, every step has sigma > 0.
        timesteps: (steps), what the denoiser gets as its time.
        signal, level: (steps + 1), the factors of x_0 and of the noise before each step, and after the last one.
        targets: (steps), (p, q) of each step.
        a, b, sigma: (steps).
    """

    def __init__(
        self,
        eta: float,
        timesteps: Sequence[float],
        levels: Sequence[tuple[float, float]],
        targets: Sequence[Target],
        table: Sequence[tuple[float, float, float]],
    ):
        self.eta = eta
        # tuples, as methods and tuners see the run's own sampler
        self.timesteps = tuple(timesteps)
        self.signal, self.level = (tuple(pair[k] for pair in levels) for k in (0, 1))
        self.targets = tuple(targets)
        self.a, self.b, self.sigma = (tuple(row[k] for row in table) for k in (0, 1, 2))
        self._check()

    def _check(self) -> None:
        """Raises UserError where a step divides by zero or a number that it multiplies latents with overflows fp32."""
        noise = self.level[: self.steps]
        numbers = [*self.timesteps, *self.signal, *self.level, *self.a, *self.b, *self.sigma]
        numbers += [1 / d if (d := self._d(i)) else math.inf for i in range(self.steps)]
        if not (
            all(abs(number) <= LARGEST for number in numbers)  # false for NaN
            and all(0 < after < before for before, after in pairwise(noise))
            and noise[-1] > 0
        ):
            raise misfit(
                "with its values the noise does not become less at every step, or a number overflows"
            )

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    def with_eta(self, eta: float) -> Sampler:
        """The sampler of the same model and timesteps with another eta."""
        raise NotImplementedError

    def random_at(self, steps: Collection[int]) -> Sampler:
        """The same sampler with noise at `steps` alone; the other steps are those of eta 0."""
        sampler, still = copy.copy(self), self.with_eta(0.0)
        for name in ("a", "b", "sigma"):
            both = zip(getattr(self, name), getattr(still, name), strict=True)
            setattr(
                sampler, name, tuple(mine if i in steps else other for i, (mine, other) in enumerate(both))
            )
        return sampler

    def x0hat(self, x: Tensor, out: Tensor, i: int) -> Tensor:
        """The clean latents (N, C, h, w) that x and the output at step i imply."""
        p, _ = self.targets[i]
        return (p * x - self.level[i] * out) / self._d(i)

    def noise(self, x: Tensor, out: Tensor, i: int) -> Tensor:
        """The noise (N, C, h, w) that x and the output at step i imply."""
        _, q = self.targets[i]
        if q == 0:  # the output itself: a node more in its graph would add its gradients in another order
            return out
        return self.signal[i] / self._d(i) * out - q / self._d(i) * x

    def step(self, x: Tensor, out: Tensor, i: int, noise: Tensor | None) -> Tensor:
        """x after step i; noise ~ N(0, I) of x's shape, or None for the mean of the step."""
        x = self.a[i] * x + self.b[i] * out
        return x if noise is None else x + self.sigma[i] * noise

    def reach(self, k: int, i: int) -> float:
        """dx_i / dout_k, x_i the latents before step i > k, of a rollout that gives the denoiser sg(x). [ours]

        x_i is then linear in each output, and this is b_k prod_{k < j < i} a_j. i = steps is x_0.
        """
        return self.b[k] * math.prod(self.a[k + 1 : i])

    def slope(self, k: int, stop: int | None = None) -> float:
        """dx_0 / dout_k of a rollout that gives the denoiser sg(x). [ours]

        With `stop`, x_0 is x0hat at that step; k is at most `stop`.
        """
        if stop is None:
            return self.reach(k, self.steps)
        if k == stop:
            return -self.level[stop] / self._d(stop)
        return self.targets[stop][0] * self.reach(k, stop) / self._d(stop)

    def noised(self, x0: Tensor, noise: Tensor, i: int) -> Tensor:
        """x0 with the noise level that step i starts from: signal x0 + level noise."""
        return self.signal[i] * x0 + self.level[i] * noise

    def target(self, x0: Tensor, noise: Tensor, i: int) -> Tensor:
        """What the denoiser should predict for x0 with this noise at step i."""
        p, q = self.targets[i]
        return p * noise + q * x0

    def _d(self, i: int) -> float:
        p, q = self.targets[i]
        return p * self.signal[i] - q * self.level[i]


def misfit(what: str, keys: str = "the values") -> UserError:
    """An error for a model whose scheduler has values that give no sampler."""
    return UserError(
        f"the model's scheduler fits no sampler: {what}",
        where=f"{keys} in scheduler/scheduler_config.json of the model",
        hint="get the scheduler_config.json that was saved with the model",
    )


def check_eta(eta: float) -> None:
    """Raises UserError where eta is not in [0, 1]."""
    if not 0 <= eta <= 1:
        raise UserError(
            f"eta is {eta}",
            where="sampler.eta",
            hint="choose 0 (deterministic) to 1 (for DDIM: as in DDPM)",
        )
