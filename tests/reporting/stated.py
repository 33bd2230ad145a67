"""What a run of shapes-ril would state in run.json, without running it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ril_bench.running.plan import plan_run
from ril_bench.running.run_record import tuner_records
from ril_bench.storage.read import StoredRun


def info(
    *,
    sequence: str = "shapes-ril",
    seed: int = 0,
    method: str = "rid",
    label: str | None = "x",
    **arguments: Any,
) -> dict[str, Any]:
    """run.json of a complete run, as far as it states settings."""
    plan = plan_run(sequence, method, seed=seed, label=label, **arguments)
    identity = plan.identity()
    resolved = plan.build_method().options.model_dump(mode="json")
    identity["method"] |= {"resolved": resolved, "oracle": False}
    stated = identity | {"tuners": tuner_records(plan.sequence), "status": "complete"}
    return dict(json.loads(json.dumps(stated)))


def stored(folder: str, content: dict[str, Any]) -> StoredRun:
    """A run with this run.json, which is on no disk."""
    run = StoredRun(Path(folder))
    run.__dict__["info"] = content  # as if it was read
    return run
