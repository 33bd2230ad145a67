"""What runs share that begin with the same tasks: their steps up to where they part, kept in the cache.

Two orders of one sequence, (1, 2, 3) and (1, 3, 2), train task 1 alike: the same draws, settings and weights give
the same bytes. A prefix is taken over as if this run had been killed right after it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from typing import Any

import pandas as pd

from ril_bench.running import provenance
from ril_bench.running.evaluation import code_digest
from ril_bench.running.materials import Materials
from ril_bench.running.plan import RunPlan
from ril_bench.running.steps import write_tables
from ril_bench.storage import cache
from ril_bench.storage.files import to_json
from ril_bench.storage.names import LOG, checkpoint
from ril_bench.storage.run_folder import RunFolder

KIND = "prefix"
CHECKPOINT, ENTRIES = checkpoint("latest"), "steps.json"


def prefix_key(plan: RunPlan, materials: Materials, i: int) -> dict[str, Any]:
    """Everything that the steps up to i depend on: no name, and no task after i but for the rewards it watches."""
    sequence = plan.sequence.model_dump(mode="json")
    method = {key: value for key, value in plan.identity()["method"].items() if key != "label"}
    return {
        **{key: sequence[key] for key in ("model", "prompts", "sampler", "adapter", "evaluation")},
        "world": plan.sequence.home.name,
        "tasks": sequence["tasks"][:i],
        "watched": sorted(plan.sequence.rewards.items()),
        "method": method,
        "seed": plan.seed,
        "weights": materials.weights,
        "code": code_digest("."),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(materials.model.device, materials.compute),
    }


def shared_steps(plan: RunPlan, others: Collection[RunPlan]) -> list[int]:
    """The steps, from 1, up to which a run goes with another one, and then parts from it."""
    return sorted({n for other in others if (n := common_steps(plan, other)) > 0})


def common_steps(a: RunPlan, b: RunPlan) -> int:
    """How many tasks two runs begin with alike; 0 if they are one run, or differ in more than their tasks."""
    same = ("model", "home", "prompts", "sampler", "adapter", "evaluation")
    if (
        (a.method, a.method_options, a.seed) != (b.method, b.method_options, b.seed)
        or any(getattr(a.sequence, part) != getattr(b.sequence, part) for part in same)
        or set(a.sequence.rewards.items()) != set(b.sequence.rewards.items())
        or a.sequence.tasks == b.sequence.tasks
    ):
        return 0
    alike = [one == other for one, other in zip(a.sequence.tasks, b.sequence.tasks, strict=False)]
    return alike.index(False) if False in alike else len(alike)


def keep(folder: RunFolder, plan: RunPlan, materials: Materials, i: int) -> None:
    """Keeps the steps up to i, just recorded, for runs that begin with them."""
    steps = [file for k in range(1, i + 1) for file in sorted(folder.step(k).rglob("*")) if file.is_file()]
    log = [line for line in folder.read_log() if line["task"] <= i]
    entries = [{**entry, "shared": True} for entry in folder.read_run()["steps"][1 : i + 1]]
    files = {file.relative_to(folder.path).as_posix(): file.read_bytes() for file in steps}
    files[CHECKPOINT] = folder.checkpoint("latest").read_bytes()
    files[LOG] = "".join(to_json(line, indent=None) for line in log).encode()
    files[ENTRIES] = to_json(entries).encode()
    cache.write(KIND, prefix_key(plan, materials, i), files)


def adopt(folder: RunFolder, plan: RunPlan, materials: Materials, shared: Collection[int]) -> bool:
    """Takes over the longest prefix of those shared that another run has kept; whether there was one.

    The run must have step 0 and no training of its own.
    """
    for name in (CHECKPOINT, LOG):  # what a kill left of a takeover
        (folder.path / name).unlink(missing_ok=True)
    for i in sorted(shared, reverse=True):
        if files := cache.read(KIND, prefix_key(plan, materials, i)):
            entries = json.loads(files.pop(ENTRIES))
            folder.write_all({name: _in_order(name, data, materials) for name, data in files.items()})
            write_tables(folder, i)
            folder.update_run(steps=[*folder.read_run()["steps"], *entries])
            return True
    return False


def _in_order(name: str, data: bytes, materials: Materials) -> bytes:
    """A file of scores with its rewards in this run's order; any other file as it is."""
    if not name.endswith(".parquet"):
        return data
    scores = pd.read_parquet(io.BytesIO(data))
    parts = [scores[scores["reward"] == reward] for reward in materials.evaluator.rewards]
    return pd.concat(parts, ignore_index=True).to_parquet(index=False)
