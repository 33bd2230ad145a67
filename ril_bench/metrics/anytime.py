"""Anytime metrics, over all evaluations of a run, including those inside tasks.

An *evaluation* e = 1..E is a row N[e] of shape (T,), measured while task k_e is trained or at its end. N has the shape
(E, T), in the order of training, and k has the shape (E,), with values from 1 to T. The last evaluation of task k is
the end of step k; step 0 is not an evaluation. As in `continual`, a missing value is NaN and makes every metric that
depends on it NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ril_bench.metrics.arrays import Array
from ril_bench.metrics.continual import prompt_noise


def average_anytime(N: ArrayLike, k: Sequence[int]) -> float:
    """AAA = mean_e mean_{j<=k_e} N[e][j], the average anytime score.  [Caccia et al. 2022]

    Range: any number; 0 is the pretrained model, 1 is tuning on each reward alone. Higher is better. The mean weighs
    all evaluations equally, so runs with different intervals between evaluations cannot be compared.
    """
    N, tasks = _evaluations(N, k)
    return float(np.mean([row[:task].mean() for row, task in zip(N, tasks, strict=True)]))


def minimum(N: ArrayLike, k: Sequence[int]) -> float:
    """MINPERF = mean_{j<T} min_{e: k_e > j} N[e][j]; NaN if T = 1.  [De Lange et al. 2023, min-ACC]

    The lowest value of each task but the last, at any evaluation after its own training. Range: any number, at most
    the mean FINAL of those tasks. Higher is better. Noise in the values biases the metric downward, and more
    evaluations bias it more: read it together with `minimum_floor`.
    """
    lowest = [cells.min() for cells in _after_learning(N, k)]
    return float(np.mean(lowest)) if lowest else float("nan")


def worst_case(N: ArrayLike, k: Sequence[int]) -> float:
    """WC-ACC = N[E][T] / T + (1 - 1/T) MINPERF; N[E][1] if T = 1.  [De Lange et al. 2023]

    The last task at the end of the run, and the other tasks at their lowest. Range: any number; 1 is tuning on each
    reward alone. Higher is better. It has the downward bias of MINPERF.
    """
    N, _ = _evaluations(N, k)
    T = N.shape[1]
    return float(N[-1, -1]) if T == 1 else float(N[-1, -1] / T + (1 - 1 / T) * minimum(N, k))


def minimum_floor(scores: ArrayLike, k: Sequence[int], *, draws: int = 1000, seed: int = 0) -> float:
    """How far below a task's mean noise alone puts MINPERF, if no reward changed.  [ours]

    As in `forget_floor`, all values of a task are set equal and the noise of prompts is added back; the result is the
    mean minus the minimum, averaged over tasks and draws. NaN if T = 1.

    Args:
        scores: (E, T, P), the evaluations prompt by prompt, in the units of N.
        k: (E,), the task of each evaluation.
        draws: number of resamples of the prompts.
        seed: seed of the resamples.
    """
    noise = prompt_noise(scores, draws=draws, seed=seed)
    drops = [cells.mean(axis=0) - cells.min(axis=0) for cells in _after_learning(noise, k)]
    return float(np.mean(drops)) if drops else float("nan")


def mean_along(shares: ArrayLike, values: ArrayLike) -> float:
    """The mean of a value along the training of a task: the area under its curve, by trapezoids.  [ours]

    Args:
        shares: (E,), the share of the task's updates that are done, from 0 to 1, ascending.
        values: (E,).

    Raises:
        ValueError: other shapes, or shares that do not ascend from 0 to 1.
    """
    x, y = np.asarray(shares, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or x.size < 2:
        raise ValueError(f"a curve has the shapes (E,) and (E,), E > 1, got {x.shape} and {y.shape}")
    if x[0] != 0 or x[-1] != 1 or (np.diff(x) < 0).any():
        raise ValueError(f"shares ascend from 0 to 1, got {x.tolist()}")
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def anytime(scores: ArrayLike, k: Sequence[int]) -> dict[str, float]:
    """All anytime metrics from scores (E, T, P), as plain floats; NaN where a metric is undefined."""
    N = np.asarray(scores, dtype=np.float64).mean(axis=2)
    return {
        "AAA": average_anytime(N, k),
        "MINPERF": minimum(N, k),
        "MINPERF_floor": minimum_floor(scores, k),
        "WC-ACC": worst_case(N, k),
    }


def _after_learning(N: ArrayLike, k: Sequence[int]) -> list[Array]:
    """For each task j < T, the values N[e][j] of the evaluations with k_e > j."""
    N, tasks = _evaluations(N, k)
    return [N[tasks > j, j - 1] for j in range(1, N.shape[1])]


def _evaluations(N: ArrayLike, k: Sequence[int]) -> tuple[Array, NDArray[np.int_]]:
    """N (E, T[, draws]) and k (E,) as arrays.

    Raises ValueError on other shapes, or unless k goes through all tasks 1..T in order.
    """
    N, tasks = np.asarray(N, dtype=np.float64), np.asarray(k)
    if N.ndim < 2 or tasks.shape != N.shape[:1]:
        raise ValueError(f"evaluations need the shape (E, T) and E tasks, got {N.shape} and {tasks.shape}")
    if sorted(set(tasks.tolist())) != list(range(1, N.shape[1] + 1)) or (np.diff(tasks) < 0).any():
        raise ValueError(f"evaluations go through tasks 1..{N.shape[1]} in order, got {tasks.tolist()}")
    return N, tasks
