"""How each task of a run was trained: its unit, its updates, and what it gained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ril_bench.storage.read import StoredRun, dig
from ril_bench.storage.run_files import number


@dataclass(frozen=True)
class TrainedTask:
    """A task as a run trained it; None where the run does not state a value.

    Attributes:
        b: the score that the tuner saw as 0, in the reward's unit.
        sigma: the difference of scores that the tuner saw as 1.
        updates: the updates of its step, with those of a consolidation.
        gain: what its step gained over the pretrained model on fixed training images, in sigma, by reward; empty
            without a criterion.
        met: whether all criteria of the step are met.
    """

    task: int
    reward: str
    b: float | None
    sigma: float | None
    updates: int | None
    gain: dict[str, float]
    met: bool | None


def updates_of(entry: Mapping[str, Any]) -> int | None:
    """All updates of a step, as its entry in run.json states them: with a reward, and of a consolidation.

    None where it does not state the former, as in runs of earlier versions.
    """
    rewarded, more = (number(entry.get(key)) for key in ("updates", "consolidation_updates"))
    return None if rewarded is None else int(rewarded + (more or 0))


def trained_tasks(run: StoredRun) -> list[TrainedTask]:
    """The tasks whose step is complete, in order."""
    found = []
    for entry in run.info.get("steps") or []:
        if not (task := entry["step"]):
            continue
        reward = str(entry.get("reward"))
        met, gain = entry.get("met"), entry.get("gain")
        found.append(
            TrainedTask(
                task=task,
                reward=reward,
                b=number(dig(run.info, "units", reward, "b")),
                sigma=number(dig(run.info, "units", reward, "sigma")),
                updates=updates_of(entry),
                gain={str(k): x for k, v in (gain or {}).items() if (x := number(v)) is not None},
                met=met if isinstance(met, bool) else None,
            )
        )
    return found
