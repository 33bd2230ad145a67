"""Continual-learning metrics of a reward matrix.

R[i][j] is the mean reward j at step i. Row 0 is the pretrained model and task j = 1..T is trained at step i = j, so a
matrix has the shape (T+1, T). In code, columns count from 0: column j is task j+1, trained at row j+1. A *score array*
has the shape (T+1, T, P): the same values prompt by prompt, where the samples of one prompt are averaged. Its mean
over prompts is the matrix. N is a matrix normalised by `Scale.normalise`.

A missing value is NaN. It makes every metric that depends on it NaN, and no other metric; it never counts as zero.
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
    """The scale of each reward, in task order; all arrays have the shape (T,).

    No value comes from the run that is scored, except b and sigma in `from_row_0`: a scale from a method's own result
    would give every method the same score for learning.

    Attributes:
        names: names of the rewards.
        d: direction, +1 or -1.
        b: mean reward of the pretrained model.
        s: gain from the pretrained model to single-task tuning, in the reward's unit; NaN without a calibration.
        sigma: standard deviation over prompts at step 0, in the reward's unit.
    """

    names: tuple[str, ...]
    d: Array
    b: Array
    s: Array
    sigma: Array

    @classmethod
    def from_calibration(cls, rewards: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Scale:
        """The scale s_j = max(d_j (u_j - b_j), 0.1 sigma_j) of a calibration.  [ours]

        Args:
            rewards: {name: {direction, b, u, sigma, se, seeds}}; u is the mean reward of single-task tuning over
                `seeds` (at least three) and se its standard error.
            names: names of the rewards, in task order.

        Raises:
            UserError: names every reward that is absent, malformed, or that cannot be learned: d (u - b) < 2 se.
        """
        faults = [
            fault for name in dict.fromkeys(names) for fault in _calibration_faults(name, rewards.get(name))
        ]
        if faults:
            raise UserError(
                "; ".join(faults),
                where="the sequence's calibration",
                hint="calibrate the sequence again; a task that cannot be learned needs a larger budget or "
                "learning rate, or must be removed from the sequence",
            )
        d, b, u, sigma = (
            np.array([float(rewards[name][key]) for name in names])
            for key in ("direction", "b", "u", "sigma")
        )
        return cls(tuple(names), d, b, np.maximum(d * (u - b), 0.1 * sigma), sigma)

    @classmethod
    def from_row_0(cls, names: Sequence[str], directions: Sequence[int], row_0: ArrayLike) -> Scale:
        """A scale for `z` alone, where a sequence has no calibration, from the scores of step 0, (T, P).

        s is NaN, so `normalise` returns NaN. Where sigma is zero, z is NaN too. Raises ValueError for fewer than two
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
        """N[i][j] = d_j (R[i][j] - b_j) / s_j: 0 is the pretrained model, 1 single-task tuning.  [ours]

        Values are not clipped; higher is better for every reward. R has the shape (rows, T) or (rows, T, P), with any
        number of rows, and so has the result. Raises ValueError on other shapes.
        """
        return self._relative(R, self.s)

    def z(self, R: ArrayLike) -> Array:
        """z[i][j] = d_j (R[i][j] - b_j) / sigma_j, in standard deviations over prompts.

        Shapes as in `normalise`.
        """
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
        return [f"'{name}' was tuned with {len(entry['seeds'])} seeds; at least three are needed"]
    gain = d * (u - b)
    if gain <= 0 or gain < 2 * se:
        return [
            f"'{name}' cannot be learned: single-task tuning gains {gain:.3g}; it must gain 2 SE = {2 * se:.3g}"
        ]
    return []


def final(N: ArrayLike) -> float:
    """FINAL = mean_j N[T][j], the mean reward of the last model.  [Lopez-Paz & Ranzato 2017, ACC]

    Range: any number; 0 is the pretrained model, 1 is tuning on each reward alone. Higher is better. One reward far
    above 1 can hide another below 0: read it together with `worst`.
    """
    return float(_matrix(N)[-1].mean())


def worst(N: ArrayLike) -> float:
    """WORST = min_j N[T][j], the lowest reward of the last model.  [ours]

    Range: any number; below 0, some reward is worse than before training. Higher is better. A minimum is noisier than
    a mean, and biased downward.
    """
    return float(_matrix(N)[-1].min())


def average_incremental(N: ArrayLike) -> float:
    """AVG-INC = mean_i mean_{j<=i} N[i][j], i = 1..T, the average incremental score.  [Rebuffi et al. 2017, iCaRL]

    The mean reward of the tasks trained so far, averaged over steps. Range: any number; 1 is tuning on each reward
    alone. Higher is better. Early tasks count in more steps than late ones, so the order of the tasks changes it.
    """
    N = _matrix(N)
    return float(np.mean([N[i, :i].mean() for i in range(1, len(N))]))


def learn(N: ArrayLike) -> float:
    """LEARN = mean_j (N[j][j] - N[j-1][j]), plasticity: the gain from each task's own training.  [ours]

    Range: any number; 1 is the gain of tuning on each reward alone. Higher is better. Where earlier tasks lowered a
    reward, its own task can regain more than 1. One reward can dominate the mean.
    """
    N = _matrix(N)
    return float(np.mean(_after(N) - _before(N)))


def backward_transfer(N: ArrayLike) -> float:
    """BWT = mean_{j<T} (N[T][j] - N[j][j]), backward transfer; NaN if T = 1.  [Lopez-Paz & Ranzato 2017]

    Range: any number; below 0 later tasks lowered earlier rewards, above 0 they raised them. Higher is better. The
    last task, whose difference is always 0, is left out. A method that learns nothing has a BWT of about 0: read
    it together with `learn`.
    """
    N = _matrix(N)
    return _mean(N[-1, :-1] - _after(N)[:-1])


def forward_transfer(N: ArrayLike) -> float:
    """FWT = mean_{j>=2} (N[j-1][j] - N[0][j]), forward transfer; NaN if T = 1.  [Lopez-Paz & Ranzato 2017]

    It compares the model just before task j with the pretrained model (in the paper: with an untrained network).
    Range: any number; 0 is no effect. Higher is better. It depends on which rewards agree with each other, so it
    describes the sequence more than the method.
    """
    N = _matrix(N)
    return _mean(_before(N)[1:] - N[0, 1:])


def forget(N: ArrayLike, i: int | None = None) -> float:
    """FORGET_i = mean_{j<i} (max_{j<=l<i} N[l][j] - N[i][j]), forgetting; NaN if i = 1.  [Chaudhry et al. 2018]

    i is T by default. The maximum runs over steps l >= j only, as a value from before task j was not learned in task
    j. Range: any number. Lower is better. Noise biases the metric upward, since the maximum of noisy values is above
    their mean: read it together with `forget_floor`. A method that learns nothing forgets nothing: read it together
    with `learn`.
    Raises ValueError if there is no step i.
    """
    N = _matrix(N)
    i = len(N) - 1 if i is None else i
    if not 1 <= i < len(N):
        raise ValueError(f"step {i} is not one of 1..{len(N) - 1}")
    return _mean(np.array([N[j + 1 : i, j].max() - N[i, j] for j in range(i - 1)]))


def forget_floor(scores: ArrayLike, *, draws: int = 1000, seed: int = 0) -> float:
    """The FORGET that noise alone would cause, if nothing were forgotten.  [ours]

    The rows >= j of column j are set to their mean. The residuals, centred in each cell, are averaged over a resample
    of the prompts and added back. All cells use the same resample, so that noise that all steps share stays shared. The
    result is the mean FORGET over `draws` such matrices.

    Args:
        scores: a score array (T+1, T, P), in the units of N.
        draws: number of resamples of the prompts.
        seed: seed of the resamples.

    Raises:
        ValueError: other shapes, or fewer than two prompts.
    """
    scores = _scores(scores)
    N = scores.mean(axis=2)
    flat = N.copy()
    for j in range(N.shape[1]):
        flat[j + 1 :, j] = N[j + 1 :, j].mean()
    drawn, last = flat[:, :, None] + prompt_noise(scores, draws=draws, seed=seed), len(N) - 1
    forgotten = [drawn[j + 1 : last, j].max(axis=0) - drawn[last, j] for j in range(last - 1)]
    return _mean(np.mean(forgotten, axis=0)) if forgotten else float("nan")


def prompt_noise(scores: ArrayLike, *, draws: int, seed: int) -> Array:
    """The noise of each cell's mean when prompts are resampled: (rows, T, P) -> (rows, T, draws).  [ours]

    It is the mean of the cell's centred residuals over the resample; all cells use the same resample.
    """
    scores = np.asarray(scores, dtype=np.float64)
    prompts = scores.shape[2]
    counts = np.random.default_rng(seed).multinomial(prompts, np.full(prompts, 1 / prompts), size=draws)
    return np.asarray((scores - scores.mean(axis=2, keepdims=True)) @ (counts.T / prompts))


@dataclass(frozen=True, eq=False)
class Retained:
    """RETAIN of each task.

    Attributes:
        values: (T,), NaN where RETAIN is undefined.
        excluded: (T,), True where it is undefined because the task gained too little.
    """

    values: Array
    excluded: NDArray[np.bool_]


def retain(scores: ArrayLike, directions: Sequence[int]) -> Retained:
    """RETAIN_j = (R[T][j] - R[0][j]) / (R[j][j] - R[0][j]), the share of its gain that a task kept.  [ours]

    Range: any number; 1 is all of the gain, 0 none of it. Higher is better. RETAIN is defined where d_j times the
    denominator exceeds 2 SE, the standard error of the differences prompt by prompt. A task that gained less is
    excluded and NaN; a task with a missing value is NaN but not excluded. The last task's value is 1 by definition:
    leave it out of a mean.

    Args:
        scores: a score array (T+1, T, P), in the rewards' own units.
        directions: (T,), +1 or -1.

    Raises:
        ValueError: other shapes, or fewer than two prompts.
    """
    scores = _scores(scores)
    tasks = np.arange(scores.shape[1])
    gains = np.asarray(directions)[:, None] * (scores[tasks + 1, tasks] - scores[0])
    kept = np.asarray(directions)[:, None] * (scores[-1] - scores[0])
    gain, se = gains.mean(axis=1), gains.std(axis=1, ddof=1) / np.sqrt(scores.shape[2])
    excluded = gain <= 2 * se
    return Retained(kept.mean(axis=1) / np.where(excluded, np.nan, gain), excluded)


def effect(N: ArrayLike) -> Array:
    """I[i][j] = N[i][j] - N[i-1][j], (T, T) from i = 1: the effect of training task i on reward j.  [ours]"""
    return np.diff(_matrix(N), axis=0)


def continual(N: ArrayLike, scores: ArrayLike | None = None) -> dict[str, Any]:
    """All metrics of a matrix, as plain floats and nested lists; NaN where a metric is undefined.

    Args:
        N: (T+1, T).
        scores: the values of N prompt by prompt, (T+1, T, P), for the floor of FORGET; without them the floor is NaN.

    Raises:
        ValueError: the mean of `scores` over prompts is not N.
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
    """N[j][j]: each reward right after its own task."""
    return np.diagonal(N, offset=-1)


def _before(N: Array) -> Array:
    """N[j-1][j]: each reward right before its own task."""
    return np.diagonal(N)


def _mean(values: Array) -> float:
    """The mean; NaN without a warning for an empty array, as a sequence may have one task."""
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
