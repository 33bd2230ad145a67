"""Ways to tamper with an honest entry, and to write new digests, as a forger would do."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from PIL import Image
from pyarrow import parquet
from safetensors.numpy import load_file, save_file

from ril_bench.scoring.matrix import matrix
from ril_bench.scoring.score import from_scores
from ril_bench.sequences.calibrations import load_calibration
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.sequences.spec import Sequence

Tamper = Callable[[Path], object]


def entry(board: Path, seed: int = 0) -> Path:
    return next(board.glob(f"entries/*/*/*/*/*/seed-{seed}"))


def seal(folder: Path) -> None:
    """New digests, as a forger would write them."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "digests.json"]
    digests = {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    (folder / "digests.json").write_text(json.dumps(digests))


def edit(folder: Path, name: str, **changes: Any) -> None:
    """Sets keys of a JSON file: a__0__b=1 is {"a": [{"b": 1}]}."""
    value = json.loads((folder / name).read_text())
    for key, new in changes.items():
        *parents, last = key.split("__")
        inner = value
        for parent in parents:
            inner = inner[int(parent) if isinstance(inner, list) else parent]
        inner[last] = new
    (folder / name).write_text(json.dumps(value))


def with_scores(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Tamper:
    def tamper(folder: Path) -> None:
        scores = change(pd.read_parquet(folder / "scores.parquet"))
        scores.to_parquet(folder / "scores.parquet", index=False)

    return tamper


def put(scores: pd.DataFrame, row: int, column: str, value: Any) -> pd.DataFrame:
    scores.loc[scores.index[row], column] = value
    return scores


def rescore(folder: Path, sequence: Sequence | None = None) -> None:
    """matrix.csv and metrics.json as they follow from whatever scores.parquet now holds."""
    scores = pd.read_parquet(folder / "scores.parquet")
    matrix(scores).to_csv(folder / "matrix.csv")
    sequence = sequence or load_sequence("tiny-shapes")
    block = from_scores(scores, sequence, load_calibration(sequence), None, [])
    plain = json.loads(pd.Series(block).to_json(double_precision=15))
    edit(folder, "metrics.json", **plain)


def better_scores(step: int) -> Tamper:
    """Every score of a step is raised by a tenth of sigma, and all figures follow."""

    def tamper(folder: Path) -> None:
        scores = pd.read_parquet(folder / "scores.parquet")
        calibration = load_calibration(load_sequence("tiny-shapes"))
        for name, entry in calibration.rewards.items():
            scores.loc[(scores["step"] == step) & (scores["reward"] == name), "score"] += 0.1 * entry.sigma
        scores.to_parquet(folder / "scores.parquet", index=False)
        rescore(folder)

    return tamper


def another_adapter(folder: Path) -> None:
    shutil.copy(folder.parent / "seed-1/step-2/adapter.safetensors", folder / "step-2/adapter.safetensors")


def earlier_adapter(folder: Path) -> None:
    shutil.copy(folder / "step-1/adapter.safetensors", folder / "step-2/adapter.safetensors")


def symlink(folder: Path) -> None:
    (folder / "matrix.csv").unlink()
    (folder / "matrix.csv").symlink_to("/etc/hostname")


def linked_folder(folder: Path) -> None:
    shutil.move(folder, folder.parent / "elsewhere")
    folder.symlink_to("elsewhere", target_is_directory=True)


def sheet_header(folder: Path, at: int, data: bytes) -> None:
    """Overwrites bytes of the contact sheet."""
    file = folder / "contact.webp"
    whole = file.read_bytes()
    file.write_bytes(whole[:at] + data + whole[at + len(data) :])


def huge_image(folder: Path) -> None:
    """A WebP of a few bytes whose header promises 16,383 x 16,383 pixels."""
    sheet_header(folder, 26, struct.pack("<HH", 16383, 16383))


def broken_image(folder: Path) -> None:
    data = (folder / "contact.webp").read_bytes()
    half = data[: len(data) // 4 * 2]
    frame = len(half) - 20
    (folder / "contact.webp").write_bytes(
        half[:4] + struct.pack("<I", frame + 12) + half[8:16] + struct.pack("<I", frame) + half[20:]
    )


def bomb(rows: int, word: str = "brightness") -> Tamper:
    """A small Parquet file that unpacks to many rows, or to one word that is long and repeated."""

    def tamper(folder: Path) -> None:
        table = pa.table(
            {
                "step": pa.array(np.zeros(rows, dtype=np.int64)),
                "reward": pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), [word]),
                "prompt_id": pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), ["000"]),
                "sample": pa.array(np.zeros(rows, dtype=np.int64)),
                "score": pa.array(np.zeros(rows)),
                "trained": pa.array(np.zeros(rows, dtype=bool)),
            }
        )
        parquet.write_table(table, folder / "scores.parquet", compression="snappy", row_group_size=rows)
        assert (folder / "scores.parquet").stat().st_size < 1_000_000

    return tamper


def pickled(folder: Path) -> None:
    class Nasty:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("touch /tmp/owned-by-an-entry",)

    (folder / "step-2/adapter.safetensors").write_bytes(pickle.dumps(Nasty()))


def with_adapter(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Tamper:
    def tamper(folder: Path) -> None:
        path = folder / "step-2/adapter.safetensors"
        save_file(change(load_file(path)), path)

    return tamper


def other_rank(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k: v[:1] if "lora_A" in k and "mid" in k else v for k, v in tensors.items()}


def fewer_layers(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return dict(list(tensors.items())[2:])


def not_finite(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    tensors[next(iter(tensors))][0, 0] = np.nan
    return tensors


def moved_seed(folder: Path) -> None:
    """Seed 1 once more, as seed 0."""
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "seed-1", folder)


def seed_dropped(folder: Path) -> None:
    shutil.rmtree(folder.parent / "seed-1")


def one_seed_too_many(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "seed-3")
    edit(folder.parent / "seed-3", "run.json", seed=3)
    seal(folder.parent / "seed-3")


def yaml_bomb(folder: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    card(folder).write_text("\n".join(lines))


def card(folder: Path) -> Path:
    return folder.parents[3] / "method.yaml"


def edit_card(**changes: Any) -> Tamper:
    def tamper(folder: Path) -> None:
        card(folder).write_text(yaml.safe_dump(yaml.safe_load(card(folder).read_text()) | changes))

    return tamper


def renamed(part: int, name: str) -> Tamper:
    """The folder that is `part` levels above the entry gets another name."""

    def tamper(folder: Path) -> None:
        old = folder.parents[part - 1] if part else folder
        old.rename(old.with_name(name))

    return tamper


def invented_sequence(folder: Path) -> None:
    for seed in folder.parent.iterdir():
        edit(seed, "run.json", sequence__name="tiny-shape")
    renamed(3, "tiny-shape")(folder)


def two_rows(folder: Path) -> None:
    lines = (folder / "matrix.csv").read_text().splitlines()
    (folder / "matrix.csv").write_text("\n".join([*lines[:2], "1,9,9,9", *lines[2:]]) + "\n")


def pandas_index(folder: Path) -> None:
    """Metadata that only pandas reads would make the scores an index; the rows are as they were."""
    table = parquet.read_table(folder / "scores.parquet")
    meta = {b"pandas": json.dumps({"index_columns": ["score"], "columns": [], "column_indexes": []}).encode()}
    parquet.write_table(table.replace_schema_metadata(meta), folder / "scores.parquet")


def deep_json(folder: Path) -> None:
    (folder / "metrics.json").write_text("[" * 100_000 + "]" * 100_000)


def older_version(folder: Path) -> None:
    edit(folder, "run.json", sequence__version=1)


def changed_sequence(folder: Path) -> None:
    edit(folder, "run.json", sequence__budget__updates=400)


def other_digest(folder: Path) -> None:
    edit(folder, "run.json", sequence_sha256="0" * 64)


def page_of_html(folder: Path) -> None:
    (folder / "index.html").write_text("<script>alert(1)</script>")


def moved_row_zero(scores: pd.DataFrame) -> pd.DataFrame:
    scores.loc[scores["step"] == 0, "score"] += 1
    return scores


def run_json(**changes: Any) -> Tamper:
    return lambda folder: edit(folder, "run.json", **changes)


def metrics_json(**changes: Any) -> Tamper:
    return lambda folder: edit(folder, "metrics.json", **changes)


def matrix_cell(folder: Path) -> None:
    table = pd.read_csv(folder / "matrix.csv", index_col="step")
    table.loc[2, "brightness"] += 0.01
    table.to_csv(folder / "matrix.csv")


def larger(name: str, size: int) -> Tamper:
    def tamper(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.truncate(size)

    return tamper


def another_image(kind: str, **options: Any) -> Tamper:
    def tamper(folder: Path) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, kind, **options)
        (folder / "contact.webp").write_bytes(buffer.getvalue())

    return tamper


def appended(name: str, data: bytes) -> Tamper:
    def tamper(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(data)

    return tamper


def digest_of_a_stranger(folder: Path) -> None:
    edit(folder, "digests.json", **{"../../../../../../../etc/passwd": "0" * 64})
