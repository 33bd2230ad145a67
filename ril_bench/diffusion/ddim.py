"""DDIM (arXiv 2010.02502) on Stable Diffusion's schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from ril_bench.diffusion.steps import Sampler, Target, check_eta, misfit
from ril_bench.errors import UserError, text_of

# Stable Diffusion's schedule; the linear path and the log-probabilities of a step assume it
SCHEDULE = {
    "clip_sample": False,
    "thresholding": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "rescale_betas_zero_snr": False,
}
BETAS = "beta_start, beta_end, beta_schedule and num_train_timesteps"
LEAST_TIMESTEPS = 3  # two sampling steps and the offset
PREDICTION_TYPES = ("epsilon", "v_prediction")


class DDIM(Sampler):
    """DDIM's steps for a denoiser that predicts noise, or the velocity of arXiv 2202.00512, appendix D.

    Leading spacing with offset 1, and alphas_cumprod[0] after the last step, so every step has sigma > 0 when
    eta > 0. eta 0 is deterministic, eta 1 has DDPM's variance. Computed in fp64.

    Args:
        alphas_cumprod: (T,), of the model, decreasing.
        steps: number of steps; the highest timestep must be below T.
        eta: in [0, 1].
        predicts: "epsilon" for noise, "v_prediction" for sqrt(abar) n - sqrt(1 - abar) x_0.

    Raises:
        UserError: `steps` or `eta` is out of range.
    """

    def __init__(self, alphas_cumprod: Tensor, steps: int, eta: float, predicts: str = "epsilon"):
        stride = len(alphas_cumprod) // steps if steps > 0 else 0
        if stride == 0 or (steps - 1) * stride + 1 >= len(alphas_cumprod):
            raise UserError(
                f"{steps} sampling steps do not fit a model of {len(alphas_cumprod)} timesteps",
                where="sampler.steps",
                hint=f"choose 2 to {len(alphas_cumprod) - 1}",
            )
        check_eta(eta)
        self.alphas_cumprod, self.predicts = alphas_cumprod, predicts
        timesteps = [i * stride + 1 for i in reversed(range(steps))]
        bars = [float(alphas_cumprod[t]) for t in timesteps] + [float(alphas_cumprod[0])]
        levels = [(math.sqrt(bar), math.sqrt(1 - bar)) for bar in bars]
        targets: list[Target] = []
        table = []
        for bar_t, bar_s, (signal, level) in zip(bars[:-1], bars[1:], levels[:-1], strict=True):
            sigma = eta * math.sqrt((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s))
            a = math.sqrt(bar_s / bar_t)
            b = math.sqrt(max(0.0, 1 - bar_s - sigma**2)) - a * math.sqrt(1 - bar_t)
            if predicts == "epsilon":
                targets.append((1.0, 0.0))
                table.append((a, b, sigma))
            else:  # the noise is level x + signal v
                targets.append((signal, -level))
                table.append((a + b * level, b * signal, sigma))
        super().__init__(eta, timesteps, levels, targets, table)

    def with_eta(self, eta: float) -> DDIM:
        return DDIM(self.alphas_cumprod, self.steps, eta, self.predicts)


def ddim_of(config: Mapping[str, Any], steps: int, eta: float) -> DDIM:
    """DDIM for a model whose scheduler has this config.

    Raises UserError where steps or eta are out of range, and, with all differences, where the scheduler is not Stable
    Diffusion's.
    """
    check_schedule(config)
    return DDIM(alphas_of(config), steps, eta, _scheduler(config).config["prediction_type"])


def alphas_of(config: Mapping[str, Any]) -> Tensor:
    """(T,) alphas_cumprod of a scheduler's config, float64.

    Raises UserError where they do not decrease strictly between 1 and 0, or fp32 cannot hold them.
    """
    by_hand = config.get("trained_betas") is not None
    keys = "trained_betas" if by_hand else BETAS
    betas, timesteps = _scheduler(config).betas.double(), config.get("num_train_timesteps", 1000)
    if betas.shape != (timesteps,):
        raise misfit(f"{len(betas)} betas for {timesteps} timesteps", "trained_betas and num_train_timesteps")
    if len(betas) < LEAST_TIMESTEPS:
        raise misfit(
            f"it has {len(betas)} timesteps, and 2 steps need {LEAST_TIMESTEPS}", "num_train_timesteps"
        )
    alphas = torch.cumprod(1 - betas, 0).cpu()
    around = torch.tensor([1.0]).double(), torch.tensor([0.0]).double()
    if not bool((torch.cat([around[0], alphas, around[1]]).diff() < 0).all()):
        raise misfit("its noise does not grow at every timestep, or leaves nothing of the image", keys)
    if float(alphas[-1]) < torch.finfo(torch.float32).tiny:
        raise misfit(f"its noise leaves nothing of the image: alphas_cumprod ends at {alphas[-1]:.2g}", keys)
    return alphas


def check_schedule(config: Mapping[str, Any]) -> None:
    """Raises UserError, all faults at once, where a scheduler's config is not Stable Diffusion's."""
    if str(config.get("_class_name")).startswith("FlowMatch") or config.get("use_flow_sigmas"):
        raise UserError(
            "the model's scheduler takes the steps of a flow, and its denoiser is a UNet",
            where="scheduler/scheduler_config.json of the model",
            hint="save the model with the scheduler that it was trained with, such as DDIMScheduler",
        )
    found = _scheduler(config).config
    if faults := [key for key, value in SCHEDULE.items() if found[key] != value]:
        raise UserError(
            f"the model's scheduler has {', '.join(f'{key}: {found[key]}' for key in faults)}",
            where="scheduler/scheduler_config.json of the model",
            hint=", ".join(f"{key}: {SCHEDULE[key]}" for key in faults),
        )
    if (kind := found["prediction_type"]) not in PREDICTION_TYPES:
        raise UserError(
            f"the model's denoiser predicts {kind!r}",
            where="prediction_type in scheduler/scheduler_config.json of the model",
            hint=f"choose a model that predicts {' or '.join(PREDICTION_TYPES)}",
        )


def _scheduler(config: Mapping[str, Any]) -> DDIMScheduler:
    """The scheduler of a config. Raises UserError where a value is of another kind."""
    try:
        return DDIMScheduler.from_config(dict(config))
    except (ArithmeticError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise misfit(text_of(error), f"trained_betas, {BETAS}") from error
