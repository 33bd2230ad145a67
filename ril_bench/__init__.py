"""RIL-Bench: a benchmark suite for reward incremental learning of text-to-image diffusion models.

import ril_bench
run = ril_bench.run("shapes-ril", method="rid", seed=0)
run.matrix                 # DataFrame: rows step 0..T, columns rewards and probes
run.metrics["continual"]
ril_bench.report(["runs"], out="site")    # index.html, a page a run, tables and figures
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ril_bench.api import Run, compare, report, run, submit
    from ril_bench.errors import NumericalError, RilError, UserError
    from ril_bench.methods import Method, Plan
    from ril_bench.reporting.export import export
    from ril_bench.rewards.base import Reward
    from ril_bench.sequences.spec import Sequence, load_sequence
    from ril_bench.studies.calibration import calibrate
    from ril_bench.studies.grid.axes import GridSpec
    from ril_bench.studies.grid.grid import grid
    from ril_bench.studies.tuning import tune
    from ril_bench.tuners.base import Log, Tuner

__version__ = "0.1.0"

_PLACES = {
    "Run": "api",
    "compare": "api",
    "report": "api",
    "run": "api",
    "submit": "api",
    "calibrate": "studies.calibration",
    "export": "reporting.export",
    "grid": "studies.grid.grid",
    "GridSpec": "studies.grid.axes",
    "NumericalError": "errors",
    "RilError": "errors",
    "UserError": "errors",
    "Method": "methods",
    "Plan": "methods",
    "Reward": "rewards.base",
    "Sequence": "sequences.spec",
    "load_sequence": "sequences.spec",
    "Log": "tuners.base",
    "Tuner": "tuners.base",
    "tune": "studies.tuning",
}
__all__ = [
    "GridSpec",
    "Log",
    "Method",
    "NumericalError",
    "Plan",
    "Reward",
    "RilError",
    "Run",
    "Sequence",
    "Tuner",
    "UserError",
    "calibrate",
    "compare",
    "export",
    "grid",
    "load_sequence",
    "report",
    "run",
    "submit",
    "tune",
]


def __getattr__(name: str) -> Any:
    # On demand: `ril-bench list` and a faulty YAML need no torch, which takes seconds to import.
    if name not in _PLACES:
        raise AttributeError(f"module 'ril_bench' has no attribute {name!r}")
    return getattr(import_module(f"ril_bench.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
