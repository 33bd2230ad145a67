"""The writer of a run folder: tables, run.json, the log."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from ril_bench.errors import UserError
from ril_bench.storage.run_folder import RunFolder, csv_bytes, parquet_bytes


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_tables_read_back_to_the_bit() -> None:
    table = pd.DataFrame({"x": [0.1 + 0.2, 1e-300, -0.0], "prompt_id": ["000", "001", "002"]})
    packed = parquet_bytes(table)
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(packed)), table)
    head, *lines = csv_bytes(table[["x"]].rename_axis("step")).decode().splitlines()
    assert head == "step,x"
    # Python's float is exact; that of read_csv depends on the version of pandas
    assert [float(line.split(",")[1]).hex() for line in lines] == [x.hex() for x in table["x"]]
    assert parquet_bytes(table) == packed


def test_writing_many_files_creates_their_folders(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "deep" / "run")
    folder.write_all({"step-1/images/000-0.png": b"1", "step-1/adapter.safetensors": b"2"})
    assert files(folder.step(1)) == {"images/000-0.png", "adapter.safetensors"}


def test_run_json(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.exists
    with pytest.raises(UserError, match=r"no run\.json"):
        folder.read_run()
    folder.update_run(status="running", seed=1)
    assert folder.update_run(status="complete") == folder.read_run() == {"status": "complete", "seed": 1}
    for text in ("[]", "{"):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(UserError, match=r"run\.json"):
            folder.read_run()


def test_a_resume_continues_the_log_at_its_update(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_log() == []
    lines = [{"task": task, "update": update, "loss": math.nan} for task in (1, 2) for update in range(3)]
    for line in lines:
        folder.append_log(line)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"task": 3, "upd')  # killed while writing
    assert [(line["task"], line["update"]) for line in folder.read_log()] == [
        (1, 0),
        (1, 1),
        (1, 2),
        (2, 0),
        (2, 1),
        (2, 2),
    ]
    folder.truncate_log(2, 1)
    folder.append_log(lines[4])
    whole = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in line.items() if k != "crc32"} for line in whole] == [
        line | {"loss": None} for line in lines[:5]
    ]
    (tmp_path / "log.jsonl").write_text("oops\n" + '{"task": 1}\n')
    with pytest.raises(UserError, match=r"log\.jsonl cannot be read"):
        folder.read_log()
