"""How each task of a run was trained: its unit, its updates, and what it gained."""

from __future__ import annotations

from dataclasses import dataclass

from ril_bench.storage.read import StoredRun, dig, number


@dataclass(frozen=True)
class TrainedTask:
    """A task as a run trained it; None where the run does not state a value.

    Attributes:
        b: the score that the tuner saw as 0, in the reward's unit.
        sigma: the difference of scores that the tuner saw as 1.
        updates: the updates of its step.
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


def trained_tasks(run: StoredRun) -> list[TrainedTask]:
    """The tasks whose step is complete, in order."""
    found = []
    for entry in run.info.get("steps") or []:
        if not (task := entry["step"]):
            continue
        reward = str(entry.get("reward"))
        updates, met, gain = (entry.get(key) for key in ("updates", "met", "gain"))
        found.append(
            TrainedTask(
                task=task,
                reward=reward,
                b=number(dig(run.info, "units", reward, "b")),
                sigma=number(dig(run.info, "units", reward, "sigma")),
                updates=updates if isinstance(updates, int) else None,
                gain={str(k): x for k, v in (gain or {}).items() if (x := number(v)) is not None},
                met=met if isinstance(met, bool) else None,
            )
        )
    return found
