"""Tables, a figure and the tested claims of the tuners' study, from its runs.

ril-bench grid docs/studies/tuners.yaml --out runs/tuners          # and images.yaml, short-draft.yaml
python docs/studies/tuners.py runs/tuners --figure docs/tuners.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ril_bench.reporting.paper import COLOURS, MARKERS
from ril_bench.reporting.summary import load
from ril_bench.storage.read import Run

LOW_LEVEL = ("compressibility", "symmetry")
CLOSER = {"diversity": +1, "SSIM": +1, "FID": -1}  # to the pretrained model
BUDGET = 8000  # denoiser evaluations of every run but DRaFT's shorter ones


def main() -> None:
    """Prints markdown; draws the figure where one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    frame = pd.DataFrame(_row(run) for run in load([given.runs]) if run.info["status"] == "complete")
    for reward, rows in frame.groupby("reward", sort=False):
        print(f"### {reward}\n\n{_table(rows)}\n")
    print("\n\n".join([*_drtune_leads(frame), *_nabla_stays_near(frame), *_spin_leads(frame)]))
    if given.figure:
        _draw(frame, given.figure)


def _row(run: Run) -> dict[str, object]:
    """One run: `gain` is in the reward's unit, `diversity` a share of the pretrained model's; `underway` is what the
    images of updates 21 to 30 scored; `seconds` are of all updates, at the pace of the fastest tenth, as the machine
    may have been shared."""
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


def _label(run: Run) -> str:
    options = {
        name: value for name, value in run.info["tuner"]["options"].items() if (name, value) != ("k", 1)
    }
    return " ".join([run.tuner, *(f"{name}={value}" for name, value in options.items())])


def _table(rows: pd.DataFrame) -> str:
    """A line a tuner and budget, most gain first: every seed's gain, and means of the rest."""
    kinds = rows.groupby(["tuner", "evaluations"])
    lines = []
    for (tuner, evaluations), runs in sorted(kinds, key=lambda kind: -kind[1]["gain"].mean()):
        gains = ", ".join(f"{gain:+.3g}" for gain in runs.sort_values("seed")["gain"])
        mean = runs.mean(numeric_only=True)
        lines.append(
            f"| {tuner} | {evaluations} | {mean['updates']:.0f} | {gains} | {mean['diversity']:.2f} | "
            f"{mean['Vendi']:.3f} | {mean['SSIM']:.2f} | {mean['FID']:.0f} | {mean['seconds']:.0f} |"
        )
    head = "| tuner | evaluations | updates | gain, by seed | diversity | Vendi | SSIM | FID | seconds |"
    return "\n".join([head, "|---|---:|---:|---:|---:|---:|---:|---:|---:|", *lines])


def _drtune_leads(frame: pd.DataFrame) -> list[str]:
    """DRTune ahead of ReFL, AlignProp and DRaFT-1 on low-level rewards: its figures less theirs, seed by seed."""
    said = []
    for reward in LOW_LEVEL:
        for what, figure in (("gain", "at the end"), ("underway", "in updates 21 to 30")):
            found = _by_seed(frame, reward, what)
            for other in ("refl", "alignprop", "alignprop variant=original", "draft"):
                differences = _seeds(found["drtune k=5"] - found[other])
                said.append(f"- {reward}, {figure}: drtune k=5 less {other}: {differences}")
    return ["\n".join(said)]


def _nabla_stays_near(frame: pd.DataFrame) -> list[str]:
    """nabla-GFlowNet against DRaFT-1 at equal reward: DRaFT's figures between its budgets (0 is one), at that gain."""
    said = []
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
        said.append(f"- {reward}: {tuner} less draft at its gain: {figures}")
    return ["\n".join(said)]


def _spin_leads(frame: pd.DataFrame) -> list[str]:
    """SPIN ahead of SFT on the same given images."""
    gains = _by_seed(frame, "aesthetic", "gain")
    images = [name for name in gains.columns if "images=" in name]
    sft = next((name for name in images if name.startswith("sft")), None)
    return [
        f"- aesthetic: {name} less {sft}: {_seeds(gains[name] - gains[sft])}"
        for name in images
        if name != sft
    ]


def _by_seed(frame: pd.DataFrame, reward: str, figure: str) -> pd.DataFrame:
    """A row a seed, a column a tuner, at the full budget."""
    rows = frame[(frame["reward"] == reward) & (frame["evaluations"] == BUDGET)]
    return rows.pivot(index="seed", columns="tuner", values=figure)


def _seeds(values: pd.Series | np.ndarray) -> str:
    return ", ".join("-" if np.isnan(value) else f"{value:+.3g}" for value in values)


def _draw(frame: pd.DataFrame, path: Path) -> None:
    """Gain against diversity, a panel a reward: the mean over seeds of each kind, and DRaFT over its budgets."""
    rewards = list(dict.fromkeys(frame["reward"]))
    families = list(dict.fromkeys(name.split()[0] for name in frame["tuner"]))
    with matplotlib.rc_context({"font.size": 8, "svg.fonttype": "none", "svg.hashsalt": "ril-bench"}):
        figure = Figure(figsize=(3.1 * len(rewards), 3.4), layout="constrained")
        for axes, reward in zip(figure.subplots(1, len(rewards), squeeze=False)[0], rewards, strict=True):
            rows = frame[frame["reward"] == reward]
            means = rows.groupby(["tuner", "evaluations"])[["gain", "diversity"]].mean().reset_index()
            means["family"] = means["tuner"].str.split().str[0]
            for k, family in enumerate(families):
                points = means[means["family"] == family]
                look = {"color": COLOURS[k % 6], "marker": MARKERS[(k + k // 6) % 6]}
                axes.plot(
                    points["gain"], points["diversity"], linestyle="none", markersize=5, label=family, **look
                )
            draft = means[means["tuner"] == "draft"].sort_values("evaluations")
            axes.plot([0, *draft["gain"]], [1, *draft["diversity"]], color="0.6", linewidth=0.8, zorder=0)
            axes.axhline(1, color="0.45", linewidth=0.8, linestyle=":")
            axes.set(
                title=reward,
                xlabel="gain",
                ylabel="diversity left" if axes.get_subplotspec().is_first_col() else "",
            )
            axes.spines[["top", "right"]].set_visible(False)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(families), frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
