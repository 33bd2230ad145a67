"""The numbers and the tested claims of the tuners' study, from its runs.

ril-bench grid docs/studies/tuners.yaml --out runs/tuners          # and images.yaml, short-draft.yaml
python docs/studies/tuners.py runs/tuners --csv docs/studies/measured/tuners.csv
make readme                                                        # draws tables and figure from the CSV file
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from ril_bench.reporting.summary import load
from ril_bench.storage.read import StoredRun

LOW_LEVEL = ("compressibility", "symmetry")
CLOSER = {"diversity": +1, "SSIM": +1, "FID": -1}  # to the pretrained model
BUDGET = 8000  # denoiser evaluations of every run but DRaFT's shorter ones


def main() -> None:
    """Prints the claims, seed by seed, and writes the CSV file where one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    frame = pd.DataFrame(_row(run) for run in load([given.runs]) if run.info["status"] == "complete")
    print("\n\n".join([*_drtune_leads(frame), *_nabla_stays_near(frame), *_spin_leads(frame)]))
    if given.csv:
        _kinds(frame).to_csv(given.csv, index=False, lineterminator="\n")


def _row(run: StoredRun) -> dict[str, object]:
    """One run as a row.

    gain: in the reward's unit. diversity: as a share of the pretrained model's. underway: mean score of the images of
    updates 21 to 30. seconds: of all updates at the pace of the fastest tenth, because the machine may be shared.
    """
    (before,), (after,) = (row[:1] for row in run.matrix)
    diverse = dict(run.per_step("diversity", "pairwise"))
    return {
        "reward": run.rewards[0],
        "tuner": _label(run),
        "seed": run.seed,
        "gain": after - before,
        "diversity": diverse[1] / diverse[0],
        "Vendi": dict(run.per_step("diversity", "vendi"))[1],
        "SSIM": dict(run.per_step("structure", "ssim_to_0"))[1],
        "FID": dict(run.per_step("fidelity", "fid"))[1],
        "FID before": dict(run.per_step("fidelity", "fid"))[0],
        "underway": float(np.mean([line["score"] for line in run.log][20:30]))
        if len(run.log) >= 30
        else np.nan,
        "updates": len(run.log),
        "seconds": len(run.log) * float(np.quantile([line["seconds"] for line in run.log], 0.1)),
        "evaluations": run.info["sequence"]["budget"]["denoiser_forwards"],
    }


def _label(run: StoredRun) -> str:
    options = {
        name: value for name, value in run.info["tuner"]["options"].items() if (name, value) != ("k", 1)
    }
    return " ".join([run.tuner, *(f"{name}={value}" for name, value in options.items())])


def _kinds(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each reward, tuner and budget, most gain first: every seed's gain, and means of the rest."""
    rows = []
    for (reward, tuner, evaluations), runs in frame.groupby(["reward", "tuner", "evaluations"], sort=False):
        gains = {f"gain {run.seed}": f"{run.gain:.3g}" for run in runs.sort_values("seed").itertuples()}
        mean = runs.mean(numeric_only=True)
        rows.append(
            {
                "reward": reward,
                "tuner": tuner,
                "evaluations": evaluations,
                "updates": f"{mean['updates']:.0f}",
            }
            | gains
            | {"diversity": f"{mean['diversity']:.2f}", "Vendi": f"{mean['Vendi']:.3f}"}
            | {
                "SSIM": f"{mean['SSIM']:.2f}",
                "FID": f"{mean['FID']:.0f}",
                "seconds": f"{mean['seconds']:.0f}",
            }
            | {"mean gain": mean["gain"]}
        )
    kinds = pd.DataFrame(rows)
    order = kinds["reward"].map({name: k for k, name in enumerate(dict.fromkeys(kinds["reward"]))})
    kinds = kinds.assign(order=order).sort_values(["order", "mean gain"], ascending=[True, False])
    return kinds.drop(columns=["order", "mean gain"])


def _drtune_leads(frame: pd.DataFrame) -> list[str]:
    """DRTune ahead of ReFL, AlignProp and DRaFT-1 on low-level rewards: its value minus theirs, seed by seed."""
    claims = []
    for reward in LOW_LEVEL:
        for what, figure in (("gain", "at the end"), ("underway", "in updates 21 to 30")):
            found = _by_seed(frame, reward, what)
            for other in ("refl", "alignprop", "alignprop variant=original", "draft"):
                differences = _seeds(found["drtune k=5"] - found[other])
                claims.append(f"- {reward}, {figure}: drtune k=5 minus {other}: {differences}")
    return ["\n".join(claims)]


def _nabla_stays_near(frame: pd.DataFrame) -> list[str]:
    """nabla-GFlowNet against DRaFT-1 at equal reward: DRaFT is interpolated at the gain of nabla-GFlowNet."""
    claims = []
    for (reward, tuner), runs in frame[frame["tuner"].str.startswith("nabla")].groupby(["reward", "tuner"]):
        differences: dict[str, list[float]] = {name: [] for name in CLOSER}
        for run in runs.sort_values("seed").itertuples():
            draft = frame[
                (frame["tuner"] == "draft") & (frame["reward"] == reward) & (frame["seed"] == run.seed)
            ]
            start = {"gain": 0.0, "diversity": 1.0, "SSIM": 1.0, "FID": draft["FID before"].iloc[0]}
            draft = pd.concat([draft, pd.DataFrame([start])]).sort_values("gain")
            within = draft["gain"].min() <= run.gain <= draft["gain"].max()
            for name in CLOSER:
                at_equal_gain = np.interp(run.gain, draft["gain"], draft[name]) if within else np.nan
                differences[name].append(getattr(run, name) - at_equal_gain)
        figures = "; ".join(f"{name} {_seeds(np.array(values))}" for name, values in differences.items())
        claims.append(f"- {reward}: {tuner} minus draft at its gain: {figures}")
    return ["\n".join(claims)]


def _spin_leads(frame: pd.DataFrame) -> list[str]:
    """SPIN ahead of SFT on the same given images."""
    gains = _by_seed(frame, "aesthetic", "gain")
    images = [name for name in gains.columns if "images=" in name]
    sft = next((name for name in images if name.startswith("sft")), None)
    return [
        f"- aesthetic: {name} minus {sft}: {_seeds(gains[name] - gains[sft])}"
        for name in images
        if name != sft
    ]


def _by_seed(frame: pd.DataFrame, reward: str, figure: str) -> pd.DataFrame:
    """A row for each seed, a column for each tuner, at the full budget."""
    rows = frame[(frame["reward"] == reward) & (frame["evaluations"] == BUDGET)]
    return rows.pivot(index="seed", columns="tuner", values=figure)


def _seeds(values: pd.Series | np.ndarray) -> str:
    return ", ".join("-" if np.isnan(value) else f"{value:+.3g}" for value in values)


if __name__ == "__main__":
    main()
