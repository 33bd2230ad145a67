"""Draws the images of README.md and docs/ from the leaderboard's entries and docs/studies/measured/: `make readme`."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ril_bench import load_sequence
from ril_bench.data.prompts import load_prompts
from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.diffusion.sampler import sample
from ril_bench.draws import Draws
from ril_bench.metrics.statistics import mean_interval
from ril_bench.worlds.shapes import WEIGHTS, captions
from ril_bench.worlds.shapes.renderer import compose
from ril_bench.worlds.shapes.train.data import rendered, varied
from ril_bench.worlds.shapes.train.denoiser import WEB_CLARITY
from ril_bench.worlds.shapes.train.repaint import ETA, FLOW_ETA, STEPS

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
ENTRIES = ROOT / "leaderboard" / "entries"
MEASURED = ROOT / "docs" / "studies" / "measured"
SEQUENCE = "shapes-ril"
#: the plane of the leaderboard's site that the results page shows
PLANE = f"{SEQUENCE}-draft-FINAL-SSIM-to-step-0.svg"
#: rows of a film strip: a method and one of its steps
FILM = (("naive", 0), ("naive", 1), ("naive", 2), ("naive", 3), ("joint", 3))
EVERY_STEP = (
    ("naive", 0),
    *((method, step) for method in ("naive", "single", "joint") for step in (1, 2, 3)),
)
COLOURS_OF_PNG = 192
COLOURS = ["#5e3c99", "#d9680d", "#2a8c82", "#6b6e78", "#b03a78", "#8a6d1d"]
MARKERS = ["o", "s", "D", "^", "v", "P"]
WIDTH, HEIGHT = 1280, 760  # of the screenshot
FRAME = 140  # rows of a window that a headless Chromium leaves blank
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "ril-bench",
}


def draw_all() -> None:
    """Every image; the screenshot of the site needs a Chromium, and is left out with a message without one."""
    with style.context(["default", STYLE]), matplotlib.rc_context({"text.parse_math": False}):
        for name, draw in FIGURES.items():
            saved(draw(), name)
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        command = [sys.executable, "-m", "ril_bench", "report", "leaderboard", "--out", str(site)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        shutil.copyfile(site / "figures" / PLANE, IMAGES / "leaderboard.svg")
        screenshot(site / "index.html", IMAGES / "site.png")


def film_strip(rows: Sequence[tuple[str, int]]) -> Figure:
    """The same prompts from the same latents: a row for each method and step. Step 0 is the pretrained model."""
    sequence = load_sequence(SEQUENCE)
    after = ["pretrained model", *(f"after {task.reward}" for task in sequence.tasks)]
    sheets = {method: _sheet(method, len(after)) for method in dict.fromkeys(name for name, _ in rows)}
    prompts = load_prompts(sequence.prompts.eval)[: sequence.evaluation.prompts]
    columns = sheets["naive"].shape[1]
    shown = [prompts[(2 * i + 1) * len(prompts) // (2 * columns)] for i in range(columns)]
    figure = Figure(figsize=(1.35 * columns + 1.6, 1.35 * len(rows) + 0.9), layout="constrained", dpi=84)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for row, (method, step) in zip(panels, rows, strict=True):
        for axes, image in zip(row, sheets[method][step], strict=True):
            axes.imshow(image, interpolation="nearest")
            axes.set_axis_off()
        label = after[0] if step == 0 else f"{_shown(method)}\n{after[step]}"
        row[0].text(-0.08, 0.5, label, transform=row[0].transAxes, ha="right", va="center", fontsize=10)
    for axes, prompt in zip(panels[0], shown, strict=True):
        axes.set_title(textwrap.fill(prompt, 20), fontsize=8)
    return figure


def _shown(method: str) -> str:
    return {"joint": "joint (oracle)"}.get(method, method)


def _sheet(method: str, steps: int) -> np.ndarray:
    """The contact sheet of seed 0 as images (steps, prompts, side, side, 3)."""
    (file,) = (ENTRIES / method).glob(f"*/{SEQUENCE}/given/draft/seed-0/contact.webp")
    pixels = np.asarray(Image.open(file))
    side = pixels.shape[0] // steps
    return pixels.reshape(steps, side, -1, side, 3).swapaxes(1, 2)


@torch.no_grad()
def world() -> Figure:
    """Evaluation prompts of the embedded world: a plain and a web-like render, and samples of the pretrained models."""
    prompts = captions.prompts("eval")[:8]
    rng = np.random.default_rng(0)
    plain = [compose(captions.parse(prompt), rng) for prompt in prompts]
    rows = {"plain render": rendered(plain), "web-like render": rendered(varied(plain, 0, WEB_CLARITY))}
    for name, folder, eta in (("shapes-64", "pipeline", ETA), ("shapes-flow", "pipeline-flow", FLOW_ETA)):
        model = DiffusionModel.load(WEIGHTS / folder, adapter=AdapterSpec(1, 1.0, ("to_q",)))
        sampler, draws = model.sampler(STEPS, eta), Draws(("figure",), range(len(prompts)))
        for guidance in (1.0, 3.0):
            rows[f"{name},\nguidance {guidance:g}"] = model.decode(
                sample(model, sampler, prompts, draws, guidance=guidance)
            )
    figure = Figure(figsize=(1.35 * len(prompts) + 1.6, 1.35 * len(rows) + 0.9), layout="constrained", dpi=84)
    panels = figure.subplots(len(rows), len(prompts), squeeze=False)
    for axes_of_row, (label, images) in zip(panels, rows.items(), strict=True):
        for axes, image in zip(axes_of_row, images, strict=True):
            axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set_axis_off()
        axes_of_row[0].text(
            -0.08, 0.5, label, transform=axes_of_row[0].transAxes, ha="right", va="center", fontsize=10
        )
    for axes, prompt in zip(panels[0], prompts, strict=True):
        axes.set_title(textwrap.fill(prompt, 20), fontsize=8)
    return figure


def tuners() -> Figure:
    """Gain against diversity, a panel a reward: the mean over seeds of each tuner, and DRaFT over its budgets."""
    frame = pd.read_csv(MEASURED / "tuners.csv")
    frame["gain"] = frame[["gain 0", "gain 1", "gain 2"]].mean(axis=1)
    frame["family"] = frame["tuner"].str.split().str[0]
    rewards, families = (list(dict.fromkeys(frame[name])) for name in ("reward", "family"))
    figure = Figure(figsize=(3.1 * len(rewards), 3.4), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, len(rewards), squeeze=False)[0])
    for axes, reward in zip(panels, rewards, strict=True):
        rows = frame[frame["reward"] == reward]
        for k, family in enumerate(families):
            points = rows[rows["family"] == family]
            axes.plot(
                points["gain"], points["diversity"], linestyle="none", markersize=5, label=family, **_look(k)
            )
        draft = rows[rows["tuner"] == "draft"].sort_values("evaluations")
        axes.plot([0, *draft["gain"]], [1, *draft["diversity"]], color="0.6", linewidth=0.8, zorder=0)
        axes.axhline(1, color="0.45", linewidth=0.8, linestyle=":")
        axes.set(title=reward, xlabel="gain (higher is better)")
    panels[0].set_ylabel("diversity left (1: the pretrained model's)")
    handles, labels = panels[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(families), frameon=False)
    return figure


def strengths() -> Figure:
    """FORGET against LEARN: a point for each method and strength, joined along the strengths of a method."""
    sys.path.insert(0, str(ROOT / "docs" / "studies"))
    from strengths import BESIDE, curves, of_method

    members = {name: {name: ""} for name in BESIDE}
    members |= {
        method: {name: f"{value:g}" for name, value in curve.items()} for method, curve in curves().items()
    }
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for k, (method, own) in enumerate(members.items()):
        learn, forget = (
            [mean_interval(list(of_method(name, metric).values())) for name in own]
            for metric in ("LEARN", "FORGET")
        )
        x, y = ([found.mean for found in values] for values in (learn, forget))
        x_half, y_half = ([found.high - found.mean for found in values] for values in (learn, forget))
        look = _look(k)
        pale = (*to_rgb(look["color"]), 0.35)
        axes.errorbar(x, y, y_half, x_half, ecolor=pale, linewidth=0.9, elinewidth=0.7, label=method, **look)
        side, aligned = (-5, "right") if method == "rid" else (5, "left")
        for place, strength in zip(zip(x, y, strict=True), own.values(), strict=True):
            axes.annotate(
                strength, place, (side, 2), textcoords="offset points", ha=aligned, color=look["color"]
            )
    axes.set(xlabel="LEARN (higher is better)", ylabel="FORGET (lower is better)")
    figure.legend(loc="outside right center", frameon=False)
    return figure


def _look(k: int) -> dict[str, str]:
    return {"color": COLOURS[k % 6], "marker": MARKERS[(k + k // 6) % 6]}


FIGURES: dict[str, Callable[[], Figure]] = {
    "film-strip.png": lambda: film_strip(FILM),
    "steps.png": lambda: film_strip(EVERY_STEP),
    "world.png": world,
    "tuners.svg": tuners,
    "strengths.svg": strengths,
}


def saved(figure: Figure, name: str) -> None:
    """Writes an image of docs/images/ without a date, so that the same numbers give the same bytes."""
    if name.endswith(".svg"):
        figure.savefig(IMAGES / name, metadata={"Date": None})
        return
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    # a palette: a third of the bytes, and no difference to see
    Image.open(buffer).convert("RGB").quantize(COLOURS_OF_PNG).save(IMAGES / name, optimize=True)


def screenshot(page: Path, file: Path) -> None:
    """The first screen of a page, in a headless Chromium."""
    found = [path for path in map(shutil.which, BROWSERS) if path]
    if not found:
        print(
            f"left out: {file.relative_to(ROOT)} needs a Chromium, and none is on the PATH", file=sys.stderr
        )
        return
    with tempfile.TemporaryDirectory() as profile:
        command = [
            found[0], "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            f"--user-data-dir={profile}", f"--screenshot={file}",
            f"--window-size={WIDTH},{HEIGHT + FRAME}", page.absolute().as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
    with Image.open(file) as image:
        image.convert("RGB").crop((0, 0, WIDTH, HEIGHT)).quantize(COLOURS_OF_PNG).save(file, optimize=True)


if __name__ == "__main__":
    draw_all()
