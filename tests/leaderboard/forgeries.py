"""Entries that should gain nothing: each is made from an honest leaderboard, and says what finds it.

Digests, matrix.csv and metrics.json follow from what is forged, as a careful forger writes them.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import load_file, save_file

from ril_bench import registry
from ril_bench.leaderboard.layout import revision
from ril_bench.running.plan import official_sequence
from ril_bench.running.run_record import tuner_records
from ril_bench.sequences.calibrations import load_calibration
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.sequences.spec import Sequence
from ril_bench.storage.digests import sha256_file
from tests.leaderboard.tampering import appended, card, edit, entry, rescore, seal

Forge = Callable[[Path], Path | None]  # forges a leaderboard; the entry to look at, if it is not the first
SEEDS = 3
RESAMPLE, RERUN, NOTHING = "resample", "rerun", "nothing"


@dataclass(frozen=True)
class Forgery:
    """A forged leaderboard; `found_by`: the check that refuses it, or nothing, where the level says what is known."""

    name: str
    forge: Forge
    found_by: str


def entries(board: Path) -> Iterator[Path]:
    for seed in range(SEEDS):
        yield entry(board, seed)


# -- scores --------------------------------------------------------------------------------------------------


def scores(step: int, change: Callable[[np.ndarray, float, float], np.ndarray]) -> Forge:
    """Changes all scores of a step in every seed: change(scores, b, sigma)."""

    def forge(board: Path) -> None:
        calibrated = load_calibration(load_sequence("tiny-shapes")).rewards
        for folder in entries(board):
            frame = pd.read_parquet(folder / "scores.parquet")
            for name, one in calibrated.items():
                rows = (frame["step"] == step) & (frame["reward"] == name)
                frame.loc[rows, "score"] = change(frame.loc[rows, "score"].to_numpy(), one.b, one.sigma)
            write_scores(folder, frame)

    return forge


def write_scores(folder: Path, frame: pd.DataFrame, sequence: Sequence | None = None) -> None:
    frame.to_parquet(folder / "scores.parquet", index=False)
    rescore(folder, sequence)
    seal(folder)


def between_is_last(board: Path) -> None:
    for folder in entries(board):
        frame = pd.read_parquet(folder / "scores.parquet")
        frame.loc[frame["step"] == 1, "score"] = frame.loc[frame["step"] == 2, "score"].to_numpy()
        write_scores(folder, frame)


def plus(sigmas: float) -> Callable[[np.ndarray, float, float], np.ndarray]:
    return lambda values, b, sigma: values + sigmas * sigma


def share(part: float, sigmas: float) -> Callable[[np.ndarray, float, float], np.ndarray]:
    def change(values: np.ndarray, b: float, sigma: float) -> np.ndarray:
        return np.where(np.arange(len(values)) < part * len(values), values + sigmas * sigma, values)

    return change


def constant(value: float) -> Callable[[np.ndarray, float, float], np.ndarray]:
    return lambda values, b, sigma: np.full_like(values, value)


def on_machine(forge: Forge, **hardware: Any) -> Forge:
    """The run names another machine, too."""

    def both(board: Path) -> None:
        forge(board)
        for folder in entries(board):
            edit(folder, "run.json", **{f"hardware__{key}": value for key, value in hardware.items()})
            seal(folder)

    return both


# -- adapters and seeds --------------------------------------------------------------------------------------


def all_adapters(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Forge:
    def forge(board: Path) -> None:
        for folder in entries(board):
            for path in folder.glob("step-*/*.safetensors"):
                save_file(change(load_file(path)), path)
            seal(folder)

    return forge


def untrained(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.zeros_like(value) for name, value in tensors.items()}


def huge(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.full(value.shape, 1e30, np.float32) for name, value in tensors.items()}


def one_seed_as_all(noise: float = 0.0) -> Forge:
    def forge(board: Path) -> None:
        first = entry(board)
        for seed in (1, 2):
            folder = entry(board, seed)
            shutil.rmtree(folder)
            shutil.copytree(first, folder)
            edit(folder, "run.json", seed=seed)
            for path in folder.glob("step-*/*.safetensors"):
                draws = np.random.default_rng(seed)
                tensors = {
                    name: (value * (1 + noise * draws.standard_normal(value.shape))).astype(value.dtype)
                    for name, value in load_file(path).items()
                }
                save_file(tensors, path)
            seal(folder)

    return forge


def other_seed(board: Path) -> None:
    """Seeds 1 and 2 change places: as if the best runs of many were given the first numbers."""
    one, two = entry(board, 1), entry(board, 2)
    one.rename(one.with_name("x"))
    two.rename(one)
    one.with_name("x").rename(two)
    for folder, seed in ((one, 1), (two, 2)):
        edit(folder, "run.json", seed=seed)
        seal(folder)


# -- names ---------------------------------------------------------------------------------------------------


def called(name: str, *, beside: bool = True, file: str | None = None, **method: Any) -> Forge:
    """The entries of naive under another name; `file`: content of method.py; `beside`: naive stays on the board."""

    def forge(board: Path) -> None:
        old = entry(board).parents[4]
        new = old.with_name(name)
        shutil.copytree(old, new) if beside else old.rename(new)
        (kept,) = new.iterdir()
        for folder in kept.glob("*/*/*/seed-*"):
            edit(folder, "run.json", method__name=name.partition("@")[0], method__label=None)
            if label := name.partition("@")[2]:
                edit(folder, "run.json", method__label=label)
            edit(folder, "run.json", **{f"method__{key}": value for key, value in method.items()})
            if file is not None:
                (kept / "method.py").write_text(file)
                edit(folder, "run.json", method__file_sha256=sha256_file(kept / "method.py"))
            seal(folder)
        info = json.loads(next(kept.rglob("run.json")).read_text())
        kept.rename(new / revision(info["method"]))

    return forge


def as_shipped(name: str, *, beside: bool, **method: Any) -> Forge:
    """The entries of naive as those of a method that ships, with that method's file and options."""

    def forge(board: Path) -> None:
        found = registry.load("method", name)()
        own = {
            "file_sha256": sha256_file(registry.shipped("baselines") / f"{name}.py"),
            "resolved": found.options.model_dump(mode="json"),
            "oracle": found.oracle,
        }
        called(name, beside=beside, **(own | method))(board)

    return forge


def under(*, tuner: str = "draft", order: str = "given") -> Forge:
    """The entries of the first method under another tuner or order, with everything that follows from it."""

    def forge(board: Path) -> Path:
        old = entry(board).parent
        sequence = official_sequence("tiny-shapes", tuner=tuner, order=order)
        new = old.parents[1] / order / tuner
        shutil.copytree(old, new)
        for folder in new.glob("seed-*"):
            edit(
                folder,
                "run.json",
                order=order,
                sequence=sequence.model_dump(mode="json"),
                sequence_sha256=sequence.sha256,
                tuner={"name": tuner, "options": sequence.tuner.options},
                tuners=tuner_records(sequence),
            )
            frame = pd.read_parquet(folder / "scores.parquet")
            place = {name: k for k, name in enumerate(sequence.rewards)}
            frame = frame.sort_values("reward", key=lambda names: names.map(place), kind="stable")
            frame = frame.sort_values("step", kind="stable")
            write_scores(folder, frame, sequence)
        return new / "seed-1"

    return forge


# -- what is written -----------------------------------------------------------------------------------------


def written(name: str, **changes: Any) -> Forge:
    def forge(board: Path) -> None:
        for folder in entries(board):
            edit(folder, name, **changes)
            seal(folder)

    return forge


def metric(block: str, **values: Any) -> Forge:
    """Sets metrics in every step of a block of metrics.json."""

    def forge(board: Path) -> None:
        for folder in entries(board):
            metrics = json.loads((folder / "metrics.json").read_text())
            for row in metrics[block]["steps"]:
                row.update({key: value for key, value in values.items() if key in row})
            edit(folder, "metrics.json", **{block: metrics[block]})
            seal(folder)

    return forge


def costs(**values: Any) -> Forge:
    """Sets costs of every step in run.json, and what metrics.json states of them."""

    def forge(board: Path) -> None:
        for folder in entries(board):
            run = json.loads((folder / "run.json").read_text())
            for step in run["steps"]:
                step.update(values)
            edit(folder, "run.json", steps=run["steps"])
            resources = json.loads((folder / "metrics.json").read_text())["resources"]
            of_one_step = ("peak_memory_bytes", "trainable_bytes", "stored_bytes", "carried_bytes")
            for key, value in values.items():
                if key in resources:
                    resources[key] = value if key in of_one_step else value * len(run["steps"])
            edit(folder, "metrics.json", resources=resources)
            seal(folder)

    return forge


def digits(name: str, key: str) -> Forge:
    """An integer of 401 digits, which json writes and no float holds."""
    return written(name, **{key: 10**400})


def text(name: str, old: str, new: str) -> Forge:
    """Replaces text in a file of the first entry."""

    def forge(board: Path) -> None:
        file = entry(board) / name
        words = file.read_text()
        assert old in words
        file.write_text(words.replace(old, new, 1))
        seal(entry(board))

    return forge


def sheet_of(seed: int) -> Forge:
    def forge(board: Path) -> None:
        shutil.copy(entry(board, seed) / "contact.webp", entry(board) / "contact.webp")
        seal(entry(board))

    return forge


def sheet(kind: str, size: tuple[int, int] = (8, 8), **options: Any) -> Forge:
    def forge(board: Path) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", size).save(buffer, kind, **options)
        (entry(board) / "contact.webp").write_bytes(buffer.getvalue())
        seal(entry(board))

    return forge


def sealed(tamper: Callable[[Path], object]) -> Forge:
    def forge(board: Path) -> None:
        tamper(entry(board))
        seal(entry(board))

    return forge


def on_card(old: str, new: str) -> Forge:
    def forge(board: Path) -> None:
        file = card(entry(board))
        words = file.read_text()
        assert old in words
        file.write_text(words.replace(old, new))

    return forge


def trials(board: Path) -> None:
    file = card(entry(board))
    stated = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(stated | {"trials": {"tuned": 0, "private": 0, "how": "nothing"}}))


FRAMES = [Image.new("RGB", (8, 8), (k, 0, 0)) for k in range(99)]
WORDS = PngInfo()
for _k in range(10_000):
    WORDS.add_text(f"k{_k}", "v")
NAIVE = "the same code, by another author"

FORGERIES = (
    # the rows between the first step and the last
    Forgery("between as last: FORGET 0", between_is_last, RESAMPLE),
    Forgery("between lowered by 5 sigma", scores(1, plus(-5)), RESAMPLE),
    Forgery("between lowered by 1000", scores(1, plus(-1000)), "bounds"),
    Forgery("between lowered by 1e300", scores(1, constant(-1e300)), "parses"),
    Forgery("between denormal", scores(1, constant(5e-324)), "parses"),
    Forgery("LEARN plus 1000", scores(1, plus(1000)), "bounds"),
    Forgery("LEARN plus 1", scores(1, plus(1)), RESAMPLE),
    Forgery("between a little lower", scores(1, plus(-0.02)), RESAMPLE),
    # the last row
    Forgery("half of the last row", scores(2, share(0.5, 10)), RESAMPLE),
    Forgery("three quarters of the last row", scores(2, share(0.75, 10)), RESAMPLE),
    Forgery("one image of the last row", scores(2, share(0.1, 90)), RESAMPLE),
    Forgery("last row by 0.04 sigma", scores(2, plus(0.04)), RESAMPLE),
    Forgery("last row by 0.1 sigma on another CPU", on_machine(scores(2, plus(0.1)), cpu="another"), RESAMPLE),
    Forgery("last row by 0.19 sigma on a GPU", on_machine(scores(2, plus(0.19)), gpu="a GPU"), RESAMPLE),
    Forgery("row 0 by 0.04 sigma", scores(0, plus(0.04)), RESAMPLE),
    Forgery("row 0 by 0.1 sigma on another CPU", on_machine(scores(0, plus(-0.1)), cpu="another"), "row 0"),
    Forgery("row 0 by 0.19 sigma on a GPU", on_machine(scores(0, plus(-0.19)), gpu="a GPU"), "row 0"),
    # adapters and seeds
    Forgery("the pretrained model as a method", all_adapters(untrained), "copies"),
    Forgery("the pretrained model without an adapter", all_adapters(lambda tensors: {}), "costs"),
    Forgery("one seed as all", one_seed_as_all(), "copies"),
    Forgery("one seed as all, with noise", one_seed_as_all(0.02), "copies"),
    Forgery("the best of many seeds", other_seed, RERUN),
    # names
    Forgery("another's runs under a new name", called("foresight", file=NAIVE), "copies"),
    Forgery("a new name without its file", called("foresight"), "method.py"),
    Forgery("a new name, and the original is gone", called("foresight", beside=False), "method.py"),
    Forgery("an oracle that says it is none", called("foresight", file=NAIVE, beside=False, oracle=False), NOTHING),
    Forgery("naive as rid, beside naive", as_shipped("rid", beside=True), "copies"),
    Forgery("naive as rid", as_shipped("rid", beside=False), RERUN),
    Forgery("naive as ewc", as_shipped("ewc", beside=False), RERUN),
    Forgery("joint that is no oracle", as_shipped("joint", beside=False, oracle=False), "oracle"),
    Forgery("rid with options that it has not", as_shipped("rid", beside=False, resolved={}), "options"),
    Forgery("rid with another file", called("rid", beside=False), "method.py"),
    Forgery("a second, worse naive", called("naive", beside=False, file_sha256="0" * 64), "method.py"),
    Forgery("draft's results as refl's", under(tuner="refl"), "copies"),
    Forgery("a rival under another order", under(order="reversed"), RERUN),
    *(
        Forgery(f"called {name}", called(name, beside=False, file=NAIVE), "names")
        for name in ("Naive", "RID", "r1d", "nalve", "na.ive", "con", "nul.txt", "LPT1", "naive.", "jolnt")
    ),
    *(Forgery(f"called {name}", called(name, beside=False, file=NAIVE), "files") for name in ("--", "..x")),
    Forgery("a label that is a formula", called("mine@=1+1", beside=False, file=NAIVE), "record"),
    Forgery("a label that calls everyone", called("mine@@everyone", beside=False, file=NAIVE), "record"),
    # metrics of images, and costs
    Forgery("FID 0", metric("fidelity", fid=0.0), RESAMPLE),
    Forgery("SSIM 1", metric("structure", ssim_to_0=1.0), RESAMPLE),
    Forgery("drift 0", metric("drift", to_0=0.0), RESAMPLE),
    Forgery("FID -50", metric("fidelity", fid=-50.0), "ranges"),
    Forgery("SSIM 7", metric("structure", ssim_to_0=7.0), "ranges"),
    Forgery("FID 1e308", metric("fidelity", fid=1e308), "parses"),
    Forgery("FID denormal", metric("fidelity", fid=5e-324), "parses"),
    Forgery("SSIM 1e308", metric("structure", ssim_to_0=1e308), "parses"),
    Forgery("a diversity of 401 digits", metric("diversity", vendi=10**400), "parses"),
    Forgery("costs all zero", costs(denoiser_forwards=0, train_seconds=0.0), "costs"),
    Forgery("no seconds", costs(train_seconds=0.0), "costs"),
    Forgery("no stored bytes", costs(stored_bytes=0, carried_bytes=0), "costs"),
    Forgery("nothing carried", costs(carried_bytes=0), "costs"),
    Forgery("a consolidation without calls", costs(consolidation_updates=10**6), "costs"),
    Forgery("a count of 401 digits", digits("run.json", "seed"), "parses"),
    Forgery("1e300 seconds", costs(train_seconds=1e300), "parses"),
    # words
    Forgery("another calibration under its digest", text("run.json", '"b": ', '"b": 1'), "calibrated"),
    Forgery("trials that were more", trials, NOTHING),
    Forgery("another seed's contact sheet", sheet_of(1), RESAMPLE),
    Forgery("5,000 versions", written("run.json", versions={f"v{k}": "1" for k in range(5000)}), "record"),
    Forgery("3,000 notes", written("metrics.json", notes=["a note"] * 3000), "images"),
    Forgery("words in place of a prompt", text("metrics.json", '"prompt": "', '"prompt": "buy '), "images"),
    # odd bytes
    Forgery("an adapter of 1e30", all_adapters(huge), "adapter"),
    Forgery("a yaml tag", on_card("oracle: false", "oracle: !!bool maybe"), "method.yaml"),
    Forgery("an empty yaml number", on_card("seeds: 3", "seeds: !!int"), "method.yaml"),
    Forgery("an image of 1 x 8,000,000", sheet("PNG", (1, 8_000_000)), "opens"),
    Forgery("an image of 16,000 lines", sheet("WEBP", (1, 16_000)), "opens"),
    Forgery("an APNG of 100 frames", sheet("PNG", save_all=True, append_images=FRAMES), "opens"),
    Forgery("a WebP of 100 frames", sheet("WEBP", save_all=True, append_images=FRAMES), "opens"),
    Forgery("10,000 texts in an image", sheet("PNG", pnginfo=WORDS), "files"),
    Forgery("a WebP with metadata", sheet("WEBP", exif=b"Exif\0\0" + b"x" * 100), "opens"),
    Forgery("a page behind the image", sealed(appended("contact.webp", b"<html>")), "opens"),
)  # fmt: skip
