"""The cells of a grid: their runs, the steps that they share, and their shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ril_bench.errors import UserError
from ril_bench.running.plan import RunPlan
from ril_bench.running.shared_steps import shared_steps
from ril_bench.storage.digests import sha256_json
from ril_bench.studies.grid.workers import Cell


def cells(plans: Sequence[RunPlan]) -> list[Cell]:
    """A cell for each run. Cells that begin with the same task form a group."""
    groups: dict[str, list[RunPlan]] = defaultdict(list)
    for plan in plans:
        groups[_group(plan)].append(plan)
    return [Cell(plan, tuple(shared_steps(plan, groups[_group(plan)])), _group(plan)) for plan in plans]


def _group(plan: RunPlan) -> str:
    first = plan.sequence.tasks[0].model_dump(mode="json")
    settings = plan.sequence.model_dump(mode="json", include={"model", "sampler", "adapter", "evaluation"})
    return sha256_json([plan.method, plan.method_options, plan.seed, first, settings])


def shard(cells: Sequence[Cell], part: str) -> list[Cell]:
    """The cells of shard "i/n", i from 1.

    Whole groups are given to the shards in turn, so that cells that share steps stay together. Raises
    UserError unless 1 <= i <= n.
    """
    i, _, n = part.partition("/")
    if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise UserError(
            f"{part!r} is not a shard", where="--shard", hint="write i/n with i from 1 to n, for example 1/4"
        )
    groups = list(dict.fromkeys(cell.group for cell in cells))
    chosen = set(groups[int(i) - 1 :: int(n)])
    return [cell for cell in cells if cell.group in chosen]
