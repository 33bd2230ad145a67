"""Steps that several runs share because the runs begin with the same tasks.

Two orders of one sequence, (1, 2, 3) and (1, 3, 2), train task 1 in the same way: the same draws, settings
and weights give the same bytes. The first run stores its steps in the cache. A run that adopts these steps
resumes after them, as it would after a kill.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from ril_bench import registry
from ril_bench.running import provenance
from ril_bench.running.inputs import Inputs, steps_key
from ril_bench.running.materials import Materials
from ril_bench.running.plan import RunPlan
from ril_bench.running.steps import finish_steps
from ril_bench.storage import cache
from ril_bench.storage.files import to_json
from ril_bench.storage.names import LOG, checkpoint
from ril_bench.storage.run_folder import RunFolder
from ril_bench.storage.seals import checked_line

KIND = "prefix"
CHECKPOINT, ENTRIES = checkpoint("latest"), "steps.json"


def _key(plan: RunPlan, materials: Materials, inputs: Inputs, i: int) -> dict[str, Any]:
    hardware = provenance.hardware(materials.model.device, materials.compute)
    method = {"name": registry.short_name(plan.method), "options": plan.method_options}
    return steps_key(plan.sequence, method, plan.seed, inputs, i, hardware)


def shared_steps(plan: RunPlan, others: Collection[RunPlan]) -> list[int]:
    """For each other run, the last step that the plan has in common with it; sorted, each once."""
    return sorted({n for other in others if (n := common_steps(plan, other)) > 0})


def common_steps(a: RunPlan, b: RunPlan) -> int:
    """The number of equal tasks with which two runs begin.

    0 for equal runs, and for runs that differ in more than their tasks.
    """
    equal = ("model", "home", "prompts", "sampler", "adapter", "unit_images", "evaluation")
    if (
        (a.method, a.method_options, a.seed) != (b.method, b.method_options, b.seed)
        or any(getattr(a.sequence, part) != getattr(b.sequence, part) for part in equal)
        or set(a.sequence.rewards.items()) != set(b.sequence.rewards.items())
        or a.sequence.tasks == b.sequence.tasks
    ):
        return 0
    matches = [x == y for x, y in zip(a.sequence.tasks, b.sequence.tasks, strict=False)]
    return matches.index(False) if False in matches else len(matches)


def keep(folder: RunFolder, plan: RunPlan, materials: Materials, inputs: Inputs, i: int) -> None:
    """Stores the steps up to i, which the run has just recorded, for runs that share them."""
    steps = [file for k in range(1, i + 1) for file in sorted(folder.step(k).rglob("*")) if file.is_file()]
    log = [line for line in folder.read_log() if line["task"] <= i]
    entries = [{**entry, "shared": True} for entry in folder.read_run()["steps"][1 : i + 1]]
    files = {file.relative_to(folder.path).as_posix(): file.read_bytes() for file in steps}
    files[CHECKPOINT] = folder.checkpoint("latest").read_bytes()
    files[LOG] = "".join(map(checked_line, log)).encode()
    files[ENTRIES] = to_json(entries).encode()
    cache.write(KIND, _key(plan, materials, inputs, i), files)


def adopt(
    folder: RunFolder, plan: RunPlan, materials: Materials, inputs: Inputs, shared: Collection[int]
) -> bool:
    """Copies the longest list of steps that another run has stored into a run's folder.

    Returns whether there were such steps. The run must have step 0, and must not have begun a training.
    """
    for name in (CHECKPOINT, LOG):  # a process that was killed while it adopted steps may have left these
        (folder.path / name).unlink(missing_ok=True)
    for i in sorted(shared, reverse=True):
        if files := cache.read(KIND, _key(plan, materials, inputs, i)):
            entries = json.loads(files.pop(ENTRIES))
            written = {name: _in_order(name, data, materials) for name, data in files.items()}
            folder.write_all(written)
            finished = {name: data for name, data in written.items() if name not in (CHECKPOINT, LOG)}
            finish_steps(folder, finished, entries)
            return True
    return False


def _in_order(name: str, data: bytes, materials: Materials) -> bytes:
    """The content of a file; in a file of scores, the rewards get the order of this run."""
    if not name.endswith(".parquet"):
        return data
    scores = pd.read_parquet(io.BytesIO(data))
    if "reward" not in scores:
        return data
    places = {reward: place for place, reward in enumerate(materials.evaluator.rewards)}
    keys = [scores["reward"].map(places).to_numpy()]
    if "scale" in scores:  # a run writes one scale after the other
        keys.append(scores["scale"].factorize()[0])
    return scores.iloc[np.lexsort(keys)].reset_index(drop=True).to_parquet(index=False)
