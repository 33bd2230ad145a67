"""The metrics that claims compare: those of reports, and a few that only claims need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ril_bench.errors import UserError
from ril_bench.metrics.anytime import mean_along
from ril_bench.metrics.continual import Scale
from ril_bench.reporting.columns import Column, columns_of
from ril_bench.reporting.trained_tasks import updates_of
from ril_bench.scoring.score import score_array
from ril_bench.storage.read import StoredRun, common_scale, dig
from ril_bench.storage.run_files import number

Reader = Callable[[StoredRun], float | None]


def value_of(metric: str, run: StoredRun) -> float:
    """The value of a metric of a complete run. Raises UserError where the run lacks it."""
    value = number(METRICS[metric](run))
    if value is None:
        raise UserError(
            f"this run has no {metric}", where=str(run.folder), hint="the notes in metrics.json state why"
        )
    return value


def _gain_along(run: StoredRun) -> float | None:
    """The mean gain of a task's reward along its training, in z, averaged over tasks.

    None where the sequence has no evaluations within tasks (evaluation.every).
    """
    if dig(run.info, "sequence", "evaluation", "every") is None:
        return None
    areas = [mean_along(list(gains), list(gains.values())) for gains in gains_along(run)]
    return sum(areas) / len(areas)


def gains_along(run: StoredRun) -> list[dict[float, float]]:
    """Of each task, the gain of its reward in z by the share of the task's updates; from 0 (no gain) to 1.

    The shares in between are those of the evaluations within the task (evaluation.every).
    """
    rewards, within = run.rewards, run.anytime_scores
    cells = score_array(run.scores, rewards)
    scale = Scale.from_row_0(rewards, [run.metrics["directions"][name] for name in rewards], cells[0])
    ends = scale.z(cells).mean(axis=2)
    found = []
    for i in range(1, len(rewards) + 1):
        levels: dict[float, float] = {}  # a task that ends before `every` updates has none
        if within is not None and len(of_task := within[within["step"] == i]):
            rows = scale.z(score_array(of_task.assign(step=of_task["update"]), rewards)).mean(axis=2)
            updates = updates_of(run.info["steps"][i]) or 1
            shares = (update / updates for update in sorted(set(of_task["update"])))
            levels = dict(zip(shares, rows[:, i - 1], strict=True))
        start = ends[i - 1, i - 1]
        gains = {share: float(level - start) for share, level in levels.items()}
        found.append({0.0: 0.0, **gains, 1.0: float(ends[i, i - 1] - start)})
    return found


def _diversity_kept(run: StoredRun) -> float | None:
    """The mean distance of two images of a prompt at the end, as a share of the pretrained model's."""
    values = dict(run.per_step("diversity", "pairwise"))
    first, last = (number(values.get(step)) for step in (0, len(run.rewards)))
    return None if not first or last is None else last / first


def _excess_forgetting(run: StoredRun) -> float | None:
    """FORGET minus its floor, in z."""
    forget, floor = (number(run.continual("z", key)) for key in ("FORGET", "FORGET_floor"))
    return None if forget is None or floor is None else forget - floor


def _structure_lost(run: StoredRun) -> float | None:
    """SSIM to step 0 after the first task, minus that after the last."""
    values = dict(run.per_step("structure", "ssim_to_0"))
    first, last = (number(values.get(step)) for step in (1, len(run.rewards)))
    return None if first is None or last is None else first - last


def _read(column: Column, run: StoredRun) -> float | None:
    return number(column.read(run, common_scale([run])))


#: by name, as claims write it: how a run gives the value; None where the run lacks it
METRICS: Mapping[str, Reader] = {
    **{column.name: partial(_read, column) for column in columns_of(True)},
    "gain along the training (z)": _gain_along,
    "diversity kept": _diversity_kept,
    "FORGET above its floor (z)": _excess_forgetting,
    "SSIM lost after the first task": _structure_lost,
}
#: what the metrics that only claims have mean
MEANINGS = {
    "gain along the training (z)": "the reward's gain, averaged along the whole training instead of read at its end",
    "diversity kept": "the distance between two images of a prompt, as a share of the pretrained model's",
    "FORGET above its floor (z)": "FORGET minus what noise alone would show",
    "SSIM lost after the first task": "SSIM to step 0 after the first task, minus that after the last",
    "LEARN (z)": "the gain of each reward in its own task, averaged over tasks",
    "FORGET (z)": "how far earlier rewards fell from their best",
    "drift": "the path KL of the last step from the pretrained model, in nats",
}
