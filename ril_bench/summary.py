"""Many runs as one table: a row for each sequence, method and tuner, a mean with its 95% interval over runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ril_bench.errors import UserError
from ril_bench.metrics.statistics import CLAIM_UNITS, mean_interval
from ril_bench.store import RunFolder, read_json

FIGURES = ("FINAL", "WORST", "LEARN", "BWT", "FORGET", "FORGET_floor")
GROUP = ["sequence", "method", "tuner"]


def figures(folder: Path) -> dict[str, Any]:
    """One run as a row: what it is, and its figures; normalised where its sequence is calibrated, else z.

    Raises UserError for a run that is not complete: a table with holes would average different things.
    """
    run, metrics = RunFolder(folder).read_run(), read_json(folder / "metrics.json")
    if run["status"] != "complete":
        raise UserError("this run is not complete", where=str(folder), mend="finish it, or leave it out")
    scale = "normalised" if metrics["continual"]["normalised"] else "z"
    block, structure = metrics["continual"][scale], metrics["structure"]["steps"][-1]
    label = f"@{run['method']['label']}" if run["method"]["label"] else ""
    return {
        "sequence": run["sequence"]["name"],
        "method": run["method"]["name"] + label,
        "tuner": run["tuner"]["name"],
        "order": run["order"],
        "seed": run["seed"],
        "scale": scale,
        **{name: block[name] for name in FIGURES},
        **{f"gain {name}": block["effect"][j][j] for j, name in enumerate(metrics["rewards"])},
        "SSIM to step 0": structure["ssim_to_0"],
        "cosine to step 0": structure["cosine_to_0"],
        "FID": metrics["fidelity"]["steps"][-1]["fid"] if metrics["fidelity"]["steps"] else None,
        "FID floor": metrics["fidelity"]["floor"],
        "denoiser evaluations": metrics["resources"]["denoiser_forwards"],
        "carried MB": metrics["resources"]["carried_bytes"] / 1e6,
        "seconds": metrics["resources"]["train_seconds"] + metrics["resources"]["evaluation_seconds"],
    }


def table(folders: Sequence[Path]) -> pd.DataFrame:
    """A row for each group of runs, "mean [low, high]" over its units (order, seed).

    Below five units the values themselves are shown, and nothing is claimed.
    """
    runs = pd.DataFrame([figures(folder) for folder in folders])
    if runs.groupby("sequence")["scale"].nunique().max() > 1:
        raise UserError(
            "some of these runs are normalised and some are not", mend="score them on one calibration"
        )
    rows = []
    for group, members in runs.groupby(GROUP, sort=False):
        values = members.drop(columns=[*GROUP, "order", "seed", "scale"]).dropna(axis=1, how="all")
        rows.append(
            dict(zip(GROUP, group, strict=True))
            | {"runs": len(members), "scale": members["scale"].iloc[0]}
            | {name: _said(column.astype(float).tolist()) for name, column in values.items()}
        )
    return pd.DataFrame(rows).fillna("–")


def markdown(rows: pd.DataFrame) -> str:
    """The table in Markdown, a column for each group: figures are many, methods are few."""
    names = [" / ".join(row) for row in rows[GROUP].itertuples(index=False)]
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for column in rows.columns.drop(GROUP):
        cells = " | ".join(str(value) for value in rows[column])
        lines.append(f"| {column} | {cells} |")
    return "\n".join(lines)


def _said(values: list[float]) -> str:
    if len(values) < CLAIM_UNITS:
        return ", ".join(f"{value:.3g}" for value in values)
    interval = mean_interval(values)
    return f"{interval.mean:.3g} [{interval.low:.3g}, {interval.high:.3g}]"
