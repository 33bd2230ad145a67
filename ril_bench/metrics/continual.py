"""Continual-learning figures of a reward matrix.

R[i][j] is the mean reward j at step i: row 0 is the pretrained model, task j = 1..T is trained at step i = j,
so a matrix has the shape (T+1, T). In code columns count from 0: column j is task j+1, learned at row j+1. A
*score array* has the shape (T+1, T, P): the same cells prompt by prompt (samples of one prompt averaged); its
mean over prompts is the matrix.

A missing cell is NaN. It makes every figure that depends on it NaN, and no other; it is never read as zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ril_bench.errors import UserError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scale:
    """What a reward's unit is worth, one value for each task, in task order; arrays of shape (T,).

    d: direction, +1 or -1;  b: mean reward of the pretrained model;  s: reward units from pretrained to
    single-task tuning, NaN without a calibration;  sigma: standard deviation over prompts at step 0.

    None of it comes from the run that is being scored, except b and sigma under `from_row_0`: a scale taken
    from a method's own result would give every method the same score for learning.
    """

    names: tuple[str, ...]
    d: Array
    b: Array
    s: Array
    sigma: Array

    @classmethod
    def from_calibration(cls, rewards: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Scale:
        """s_j = max(d_j (u_j - b_j), 0.1 sigma_j) from {name: {direction, b, u, sigma, se, seeds}}.  [ours]

        u is the mean of single-task tuning over `seeds` (at least three), se its standard error. Raises
        UserError naming every reward that is absent, malformed, or that cannot be learned: d (u - b) < 2 se.
        """
        faults = [
            fault for name in dict.fromkeys(names) for fault in _calibration_faults(name, rewards.get(name))
        ]
        if faults:
            raise UserError(
                "; ".join(faults),
                where="the sequence's calibration",
                hint="calibrate the sequence again; a task that cannot be learned needs a larger budget or "
                "learning rate, or has to leave the sequence",
            )
        d, b, u, sigma = (
            np.array([float(rewards[name][key]) for name in names])
            for key in ("direction", "b", "u", "sigma")
        )
        return cls(tuple(names), d, b, np.maximum(d * (u - b), 0.1 * sigma), sigma)

    @classmethod
    def from_row_0(cls, names: Sequence[str], directions: Sequence[int], row_0: ArrayLike) -> Scale:
        """A scale for z alone, when a sequence has no calibration: `row_0` is (T, P), the scores of step 0.

        s is NaN, so `normalise` gives NaN. A sigma of zero makes z NaN as well. Raises ValueError below two
        prompts.
        """
        scores = np.asarray(row_0, dtype=np.float64)
        if scores.ndim != 2 or scores.shape[0] != len(names) or scores.shape[1] < 2:
            raise ValueError(f"row 0 needs the shape (T={len(names)}, P>=2), got {scores.shape}")
        spread = np.ptp(scores, axis=1) != 0  # equal scores may leave a rounding error as their deviation
        sigma = np.where(spread, scores.std(axis=1, ddof=1), np.nan)
        d = np.array(directions, dtype=np.float64)
        return cls(tuple(names), d, scores.mean(axis=1), np.full(len(names), np.nan), sigma)

    def normalise(self, R: ArrayLike) -> Array:
        """N[i][j] = d_j (R[i][j] - b_j) / s_j: 0 = pretrained, 1 = single-task tuning; not clipped.  [ours]

        R: any number of steps, (rows, T), or a score array (rows, T, P). Same shape out.
        """
        return self._relative(R, self.s)

    def z(self, R: ArrayLike) -> Array:
        """z[i][j] = d_j (R[i][j] - b_j) / sigma_j, in deviations over prompts. Shapes as in `normalise`."""
        return self._relative(R, self.sigma)

    def _relative(self, R: ArrayLike, unit: Array) -> Array:
        R = np.asarray(R, dtype=np.float64)
        if R.ndim not in (2, 3) or R.shape[1] != len(self.names):
            raise ValueError(f"rewards need the shape (rows, T={len(self.names)}[, P]), got {R.shape}")
        d, b, unit = (column.reshape(-1, *[1] * (R.ndim - 2)) for column in (self.d, self.b, unit))
        return d * (R - b) / unit


def _calibration_faults(name: str, entry: Mapping[str, Any] | None) -> list[str]:
    if entry is None:
        return [f"'{name}' is not calibrated"]
    lacking = [key for key in ("direction", "b", "u", "sigma", "se", "seeds") if key not in entry]
    if lacking:
        return [f"'{name}' lacks {', '.join(lacking)}"]
    d, b, u, sigma, se = np.array(
        [entry[key] for key in ("direction", "b", "u", "sigma", "se")], dtype=np.float64
    )
    if d not in (-1, 1) or not np.isfinite([b, u, sigma, se]).all() or sigma <= 0 or se < 0:
        return [f"'{name}' needs direction +1 or -1, finite b and u, sigma > 0 and se >= 0"]
    if len(entry["seeds"]) < 3:
        return [f"'{name}' was tuned with {len(entry['seeds'])} seeds; three are the least"]
    gain = d * (u - b)
    if gain <= 0 or gain < 2 * se:
        return [
            f"'{name}' cannot be learned: single-task tuning gains {gain:.3g}, against 2 SE = {2 * se:.3g}"
        ]
    return []


def final(N: ArrayLike) -> float:
    """FINAL = mean_j N[T][j].  [Lopez-Paz & Ranzato 2017, ACC]"""
    return float(_matrix(N)[-1].mean())


def worst(N: ArrayLike) -> float:
    """WORST = min_j N[T][j].  [ours]"""
    return float(_matrix(N)[-1].min())


def average_incremental(N: ArrayLike) -> float:
    """AVG-INC = mean_i mean_{j<=i} N[i][j], i = 1..T.  [Rebuffi et al. 2017, iCaRL]"""
    N = _matrix(N)
    return float(np.mean([N[i, :i].mean() for i in range(1, len(N))]))


def learn(N: ArrayLike) -> float:
    """LEARN = mean_j (N[j][j] - N[j-1][j]), plasticity: what each task's own training added.  [ours]"""
    N = _matrix(N)
    return float(np.mean(_after(N) - _before(N)))


def backward_transfer(N: ArrayLike) -> float:
    """BWT = mean_{j<T} (N[T][j] - N[j][j]); NaN if T = 1.  [Lopez-Paz & Ranzato 2017]

    The last task is left out: its own 0 would only dilute the mean.
    """
    N = _matrix(N)
    return _mean(N[-1, :-1] - _after(N)[:-1])


def forward_transfer(N: ArrayLike) -> float:
    """FWT = mean_{j>=2} (N[j-1][j] - N[0][j]); NaN if T = 1.  [Lopez-Paz & Ranzato 2017]

    Two different models are compared: the one just before task j, and the pretrained one (in the paper an
    untrained network).
    """
    N = _matrix(N)
    return _mean(_before(N)[1:] - N[0, 1:])


def forget(N: ArrayLike, i: int | None = None) -> float:
    """FORGET_i = mean_{j<i} (max_{j<=l<i} N[l][j] - N[i][j]); NaN if i = 1.  [Chaudhry et al. 2018]

    i: T unless told. The maximum runs over l >= j only: what a model could do before it learned the task, it
    cannot forget of it. Noise in the cells biases the figure upward (a maximum of noise is above its mean):
    show `forget_floor` beside it. Raises ValueError if there is no step i.
    """
    N = _matrix(N)
    i = len(N) - 1 if i is None else i
    if not 1 <= i < len(N):
        raise ValueError(f"step {i} is not one of 1..{len(N) - 1}")
    return _mean(np.array([N[j + 1 : i, j].max() - N[i, j] for j in range(i - 1)]))


def forget_floor(scores: ArrayLike, *, draws: int = 1000, seed: int = 0) -> float:
    """What FORGET would read from the cells' noise alone, had nothing been forgotten.  [ours]

    scores: a score array (T+1, T, P) in the units of N. Column j's rows >= j are set to their mean; the
    residuals, centred in each cell, are added back averaged over a resample of prompts, the same prompts in
    every cell (they are paired across steps, so noise that steps share must stay shared). The mean FORGET
    over `draws` such matrices. Raises ValueError below two prompts.
    """
    scores = _scores(scores)
    N = scores.mean(axis=2)
    flat = N.copy()
    for j in range(N.shape[1]):
        flat[j + 1 :, j] = N[j + 1 :, j].mean()
    noise = prompt_noise(scores, draws=draws, seed=seed)
    return float(np.mean([forget(flat + noise[:, :, k]) for k in range(draws)]))


def prompt_noise(scores: ArrayLike, *, draws: int, seed: int) -> Array:
    """What resampling prompts does to each cell: (rows, T, P) -> (rows, T, draws), around 0.  [ours]

    The residuals, centred in each cell, averaged over a resample of prompts, the same one in every cell.
    """
    scores = np.asarray(scores, dtype=np.float64)
    prompts = scores.shape[2]
    counts = np.random.default_rng(seed).multinomial(prompts, np.full(prompts, 1 / prompts), size=draws)
    return np.asarray((scores - scores.mean(axis=2, keepdims=True)) @ (counts.T / prompts))


@dataclass(frozen=True, eq=False)
class Retained:
    """RETAIN_j, shape (T,), NaN where it is undefined; `excluded` says where: the task was hardly learned."""

    values: Array
    excluded: NDArray[np.bool_]


def retain(scores: ArrayLike, directions: Sequence[int]) -> Retained:
    """RETAIN_j = (R[T][j] - R[0][j]) / (R[j][j] - R[0][j]), the share of its gain that a task kept.  [ours]

    scores: a score array (T+1, T, P) in raw units. Defined where d_j times the denominator exceeds 2 SE, its
    standard error from the differences prompt by prompt. A task that gained less (or lost) is excluded and
    NaN; one with a missing cell is NaN but not excluded. The last task's value is 1 by construction: leave it
    out of a mean. Raises ValueError below two prompts.
    """
    scores = _scores(scores)
    tasks = np.arange(scores.shape[1])
    gains = np.asarray(directions)[:, None] * (scores[tasks + 1, tasks] - scores[0])
    kept = np.asarray(directions)[:, None] * (scores[-1] - scores[0])
    gain, se = gains.mean(axis=1), gains.std(axis=1, ddof=1) / np.sqrt(scores.shape[2])
    excluded = gain <= 2 * se
    return Retained(kept.mean(axis=1) / np.where(excluded, np.nan, gain), excluded)


def intransigence(N: ArrayLike, N_joint: ArrayLike) -> Array:
    """INTRANS_j = N_joint[j][j] - N[j][j], shape (T,): what joint tuning reaches and this method did not.

    [Chaudhry et al. 2018] N_joint: the matrix of joint tuning on the same sequence, row i tuned on tasks
    1..i.
    """
    N, N_joint = _matrix(N), _matrix(N_joint)
    if N.shape != N_joint.shape:
        raise ValueError(f"the two matrices have different tasks: {N.shape} and {N_joint.shape}")
    return _after(N_joint) - _after(N)


def effect(N: ArrayLike) -> Array:
    """I[i][j] = N[i][j] - N[i-1][j], (T, T) from i = 1: what training task i did to reward j.  [ours]"""
    return np.diff(_matrix(N), axis=0)


def continual(N: ArrayLike, scores: ArrayLike | None = None) -> dict[str, Any]:
    """The whole block for one matrix: plain floats and nested lists, NaN where undefined.

    scores: N's cells prompt by prompt (T+1, T, P), in the units of N, for the floor of FORGET; without them
    the floor is NaN. Raises ValueError if their mean is not N.
    """
    N = _matrix(N)
    if scores is not None and not np.allclose(
        _scores(scores).mean(axis=2), N, rtol=1e-6, atol=1e-9, equal_nan=True
    ):
        raise ValueError("the scores' means over prompts are not the matrix: other units, or another run")
    return {
        "FINAL": final(N),
        "WORST": worst(N),
        "AVG-INC": average_incremental(N),
        "LEARN": learn(N),
        "BWT": backward_transfer(N),
        "FWT": forward_transfer(N),
        "FORGET": forget(N),
        "FORGET_floor": float("nan") if scores is None else forget_floor(scores),
        "N": N.tolist(),
        "effect": effect(N).tolist(),
    }


def _after(N: Array) -> Array:
    """N[j][j]: each task right after its training."""
    return np.diagonal(N, offset=-1)


def _before(N: Array) -> Array:
    """N[j-1][j]: each task right before its training."""
    return np.diagonal(N)


def _mean(values: Array) -> float:
    """The mean, NaN of nothing (and no warning: T = 1 is a legitimate sequence)."""
    return float(values.mean()) if values.size else float("nan")


def _matrix(N: ArrayLike) -> Array:
    N = np.asarray(N, dtype=np.float64)
    if N.ndim != 2 or N.shape[1] < 1 or N.shape[0] != N.shape[1] + 1:
        raise ValueError(f"a reward matrix has the shape (T+1, T), got {N.shape}")
    return N


def _scores(scores: ArrayLike) -> Array:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 3 or scores.shape[2] < 2:
        raise ValueError(f"a score array has the shape (T+1, T, P>=2), got {scores.shape}")
    _matrix(scores[:, :, 0])
    return scores
