"""Ways to forge a leaderboard. Digests, matrix.csv and metrics.json follow, as a careful forger writes them."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from safetensors.numpy import load_file, save_file

from ril_bench import registry
from ril_bench.leaderboard.layout import revision
from ril_bench.running.plan import official_sequence
from ril_bench.running.run_record import tuner_records
from ril_bench.sequences.calibrations import load_calibration
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.sequences.spec import Sequence
from ril_bench.storage.digests import sha256_file
from tests.leaderboard.tampering import card, edit, entry, rescore, seal

Forge = Callable[[Path], Path | None]  # forges a leaderboard; the entry to look at, if it is not the first
SEEDS = 3


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


def under_other_seeds(name: str, **options: Any) -> Forge:
    """As `called`, and each entry has the next seed, the last one the first."""

    def forge(board: Path) -> None:
        called(name, **options)(board)
        folders = sorted((board / "entries" / name).glob("*/*/*/*/seed-*"))
        seeds = [folder.name for folder in folders]
        moved = [folder.rename(folder.with_name(f"moving-{k}")) for k, folder in enumerate(folders)]
        for folder, seed in zip(moved, [*seeds[1:], seeds[0]], strict=True):
            edit(folder, "run.json", seed=int(seed.removeprefix("seed-")))
            seal(folder)
            folder.rename(folder.with_name(seed))

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


def compressed(codec: str) -> Forge:
    """scores.parquet as it is, compressed in another way."""

    def forge(board: Path) -> None:
        for folder in entries(board):
            frame = pd.read_parquet(folder / "scores.parquet")
            frame.to_parquet(folder / "scores.parquet", index=False, compression=codec)
            seal(folder)

    return forge


def between_updates(board: Path) -> None:
    """Scores between updates of a sequence that has none."""
    for folder in entries(board):
        frame = pd.read_parquet(folder / "scores.parquet")
        frame.insert(1, "update", range(len(frame)))
        frame.to_parquet(folder / "anytime.parquet", index=False)
        seal(folder)


def times(block: str, key: str, factor: float) -> Forge:
    """Multiplies a metric of every step in a block of metrics.json."""

    def forge(board: Path) -> None:
        for folder in entries(board):
            metrics = json.loads((folder / "metrics.json").read_text())
            for row in metrics[block]["steps"]:
                if row.get(key) is not None:
                    row[key] *= factor
            edit(folder, "metrics.json", **{block: metrics[block]})
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
