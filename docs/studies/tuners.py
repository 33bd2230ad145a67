"""The study of tuners, from its runs: a row a run, the table of a reward, and the gain along the training.

ril-bench grid docs/studies/tuners.yaml --out runs/tuners
python docs/studies/tuners.py collect runs/tuners > docs/studies/measured/tuners.csv
ril-bench grid docs/studies/tuners-long.yaml --out runs/tuners-long
python docs/studies/tuners.py collect runs/tuners-long > docs/studies/measured/tuners-long.csv
python docs/studies/tuners.py along runs/tuners-long > docs/studies/measured/tuners-along.csv
python docs/studies/tuners.py table aesthetic
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import pandas as pd
from tables import as_markdown, measured

from ril_bench.reporting.summary import load
from ril_bench.reporting.trained_tasks import updates_of
from ril_bench.storage.read import StoredRun
from ril_bench.studies.claims.claim_metrics import gains_along, value_of

#: {column: the metric of a claim}; the gain of the one task is its LEARN, in deviations over the evaluation prompts
METRICS = {"gain": "LEARN (z)", "diversity": "diversity kept", "drift": "drift"}
#: by the options that tell them apart from other runs of the tuner
NAMES = {
    ("ddpo", "std"): "ddpo, Flow-GRPO",
    ("drtune", "spread"): "drtune, FlowBP",
    ("sft", "images"): "sft, given",
}


def collect(*folders: str) -> str:
    """A row for each complete run below the folders."""
    rows = [_row(run) for run in _complete(folders)]
    return (
        pd.DataFrame(rows).sort_values(["reward", "tuner", "seed"]).to_csv(index=False, lineterminator="\n")
    )


def along(*folders: str) -> str:
    """A row for each evaluation within a run: the gain, in z, after that many denoiser evaluations."""
    rows = [row for run in _complete(folders) for row in _gains(run)]
    order = ["reward", "tuner", "seed", "evaluations"]
    return pd.DataFrame(rows).sort_values(order).round(4).to_csv(index=False, lineterminator="\n")


def table(reward: str) -> str:
    """A row a tuner, most gain first: gains by seed at the budget and at ten times it, means of the rest."""
    at_budget, longer = (
        frame[frame["reward"] == reward] for frame in map(measured, ("tuners", "tuners-long"))
    )
    later = {str(name): runs for name, runs in longer.groupby("tuner")}
    groups = sorted(at_budget.groupby("tuner"), key=lambda group: -group[1]["gain"].mean())
    lines = []
    for name, runs in groups:
        mean = runs.mean(numeric_only=True)
        cells = [f"{mean[column]:.2f}" for column in ("diversity", "SSIM")]
        cells += [f"{mean[column]:.0f}" for column in ("drift", "updates")]
        lines.append([str(name), _seeds(runs), _seeds(later[str(name)]) if name in later else "", *cells])
    head = ["tuner", "gain, by seed", "with ten times the budget", "diversity", "SSIM", "drift", "updates"]
    return as_markdown(head, lines)


def _complete(folders: tuple[str, ...]) -> list[StoredRun]:
    return [run for run in load(folders) if run.info["status"] == "complete"]


def _row(run: StoredRun) -> dict[str, object]:
    found = {column: round(value_of(metric, run), 4) for column, metric in METRICS.items()}
    ssim = dict(run.per_step("structure", "ssim_to_0"))[1]
    named = {"reward": run.rewards[0], "tuner": name(run.info["tuner"]), "seed": run.seed}
    return {**named, **found, "SSIM": round(ssim, 4), "updates": updates_of(run.info["steps"][1])}


def name(tuner: Mapping[str, object]) -> str:
    """How the tables call a tuner with options: its name, and what the options make of it."""
    options = tuner["options"]
    if isinstance(options, dict):
        if "variant" in options:
            return f"{tuner['name']}, {options['variant']}"
        for (base, option), label in NAMES.items():
            if tuner["name"] == base and option in options:
                return label
    return str(tuner["name"])


def _gains(run: StoredRun) -> Iterator[dict[str, object]]:
    """Work is the same in each update, so a share of the updates is that share of the evaluations."""
    place = {"reward": run.rewards[0], "tuner": name(run.info["tuner"]), "seed": run.seed}
    budget = run.info["sequence"]["budget"]["denoiser_forwards"]
    for share, gain in gains_along(run)[0].items():
        yield {**place, "evaluations": round(budget * share), "gain": gain}


def _seeds(runs: pd.DataFrame) -> str:
    return ", ".join(f"{gain:+.2f}" for gain in runs.sort_values("seed")["gain"])


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    print(globals()[command](*arguments), end="")
