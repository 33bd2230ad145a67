"""How pages and tables mark collapsed steps."""

from __future__ import annotations

from ril_bench.reporting import text
from ril_bench.scoring.collapse import LEAST_SHARE, collapsed
from ril_bench.storage.read import StoredRun

#: behind the name of a method in a table of text
MARK = "‡"
MEANING = (
    "A step is collapsed where attributes, clip_score or the diversity of its images is below "
    f"{LEAST_SHARE:g} of step 0's"
)


def step_label(run: StoredRun, step: int) -> str:
    """The name of a step, with ", collapsed" where it is."""
    return f"{run.step_name(step)}{', collapsed' if step in collapsed(run) else ''}"


def collapsed_steps(run: StoredRun) -> str:
    """ "collapsed: steps 2 and 3", or "" where no step is."""
    steps = [str(step) for step in collapsed(run)]
    if len(steps) < 2:
        return "".join(f"collapsed: step {step}" for step in steps)
    return f"collapsed: steps {', '.join(steps[:-1])} and {steps[-1]}"


def reasons(run: StoredRun) -> list[str]:
    """A sentence for each collapsed step: what fell, and to which share of step 0's value."""
    return [
        f"Step {step} is collapsed: {', '.join(f'{name} {text.fixed(share)}' for name, share in own.items())} "
        "of step 0's."
        for step, own in collapsed(run).items()
    ]
