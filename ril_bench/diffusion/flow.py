"""Flow matching (arXiv 2210.02747): Euler steps on a straight path, and the same steps with noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler

from ril_bench.diffusion.steps import Sampler, check_eta, misfit
from ril_bench.errors import UserError, text_of

VELOCITY = (1.0, -1.0)  # the denoiser predicts n - x_0
#: the largest noise that the last step adds where eta is 1; Stable Diffusion's schedule ends at this level
LAST_NOISE = 0.03
LAST_LEVEL = 2 * LAST_NOISE  # the least level from which a sampler with noise takes its last step


class Flow(Sampler):
    """The steps of a flow-matching model, which predicts the velocity n - x_0 at x_s = (1 - s) x_0 + s n.

        x_s' = (1 - s') x0hat + c noise + k n,    c = sqrt(s'^2 - k^2),    k^2 = eta^2 s'^2 (1 - r^2),
        r = (1 - s) s' / ((1 - s') s)

    With x0hat = x - s out and noise = x + (1 - s) out this is a x + b out + k n, where a = 1 - s' + c and
    b = c (1 - s) - s (1 - s'). eta 0 is the Euler step of diffusers' FlowMatchEulerDiscreteScheduler. k is that of DDIM
    (arXiv 2010.02502, eq. 16) on this path: eta times the deviation of x_s' where x_s and x_0 are known. So eta means
    what it means in DDIM, and eta 1 is, for small steps, the memoryless process that Adjoint Matching needs [ours].

    Few steps with noise make images less varied. Where x_0 is normally distributed with variance 1 and the velocity is
    exact, eta 1 keeps .59 of the variance with 8 steps, .84 with 28 and .995 with 1000 equal steps. FlowCPS (arXiv
    2509.05952) has k = s' sin(eta pi / 2), which does not become smaller with the step: it keeps .38, .45 and .50.

    By the formula the last step, to s' = 0, has no noise, and so no probability density. Here it ends with k = eta
    min(s, 0.03), so that tuners and methods can use every step, as with DDIM [ours]. With noise, `flow_of` stretches a
    schedule whose last level is below .06 to end there, as `shift_terminal` of diffusers does. Stable Diffusion 3.5's
    ends at .009: the step to that level moves far and adds next to no noise, so of 28 steps it alone would hold 97% of
    the drift and of every log-probability; stretched, 44%. With 10 steps it is 99.7%, and then 82% [ours].

    Args:
        sigmas: (steps,), s before each step, decreasing, at most 1.
        eta: in [0, 1].
        scale: the denoiser's time is `scale` times s.

    Raises:
        UserError: `eta` is out of range.
    """

    def __init__(self, sigmas: Sequence[float], eta: float, scale: int = 1000):
        check_eta(eta)
        self._sigmas, self._scale = list(sigmas), scale
        table = []
        for s, after in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
            r = (1 - s) * after / ((1 - after) * s)
            fresh = eta**2 * (1 - r**2)  # of the noise's variance
            k, c = after * math.sqrt(fresh), after * math.sqrt(1 - fresh)
            a, b = 1 - after + c, c * (1 - s) - s * (1 - after)
            table.append((a, b, k if after else eta * min(s, LAST_NOISE)))
        levels = [*((1 - s, s) for s in sigmas), (1.0, table[-1][2])]
        super().__init__(eta, [scale * s for s in sigmas], levels, [VELOCITY] * len(table), table)

    def with_eta(self, eta: float) -> Flow:
        return Flow(self._sigmas, eta, self._scale)


def flow_of(config: Mapping[str, Any], steps: int, eta: float, tokens: int) -> Flow:
    """The sampler of a model whose scheduler has this config.

    Args:
        tokens: patches of the latents, which decide the shift of a schedule with `use_dynamic_shifting`.

    Raises UserError where steps or eta are out of range, or the scheduler takes other steps.
    """
    check_flow(config)
    try:
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(config))
        timesteps = scheduler.config["num_train_timesteps"]
        if not 2 <= steps < timesteps and not (steps == 1 and not scheduler.config["shift_terminal"]):
            raise UserError(
                f"{steps} sampling steps do not fit a model of {timesteps} timesteps",
                where="sampler.steps",
                hint=f"choose 2 to {timesteps - 1}",
            )
        with np.errstate(all="ignore"):  # what is not finite is refused below
            scheduler.set_timesteps(steps, **dynamic_shift(scheduler.config, tokens))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise misfit(text_of(error)) from error
    sigmas = scheduler.sigmas[:-1].tolist()
    # checked before the table, whose formulas divide by them; false for NaN
    if not all(before > after for before, after in pairwise([*sigmas, 0.0])) or not sigmas[0] <= 1:
        raise misfit(
            f"with its values the noise does not fall from 1 to 0 in {steps} steps",
            "shift, the other keys of shifts and use_..._sigmas",
        )
    return Flow(stretched(sigmas, LAST_LEVEL) if eta else sigmas, eta, timesteps)


def stretched(sigmas: Sequence[float], last: float) -> list[float]:
    """The levels with 1 - s scaled so that the last one is at least `last`."""
    if sigmas[-1] >= last:
        return list(sigmas)
    factor = (1 - last) / (1 - sigmas[-1])
    return [1 - factor * (1 - s) for s in sigmas]


def dynamic_shift(config: Mapping[str, Any], tokens: int) -> dict[str, float]:
    """{"mu": the shift for this many patches}, as in the pipelines; {} where it does not depend on them.

    mu is linear in the number of patches [code: diffusers].
    """
    if not config["use_dynamic_shifting"]:
        return {}
    few, many = config["base_image_seq_len"], config["max_image_seq_len"]
    low, high = config["base_shift"], config["max_shift"]
    return {"mu": low + (tokens - few) * (high - low) / (many - few)}


def check_flow(
    config: Mapping[str, Any], where: str = "scheduler/scheduler_config.json of the model"
) -> None:
    """Raises UserError, with its place, where a scheduler does not take the Euler steps of a flow."""
    kind = config.get("_class_name", FlowMatchEulerDiscreteScheduler.__name__)
    if kind != FlowMatchEulerDiscreteScheduler.__name__:
        raise UserError(
            f"the model's scheduler is {kind}",
            where=where,
            hint=f"save the model with a {FlowMatchEulerDiscreteScheduler.__name__}",
        )
    if faults := [key for key in ("invert_sigmas", "stochastic_sampling") if config.get(key)]:
        raise UserError(
            f"the model's scheduler has {', '.join(f'{key}: true' for key in faults)}",
            where=where,
            hint=", ".join(f"{key}: false" for key in faults),
        )
