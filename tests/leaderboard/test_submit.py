"""Entries from runs: nothing is written that a check would refuse, and no existing file is changed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load, load_file, save

import ril_bench
from ril_bench import registry
from ril_bench.cli import main
from ril_bench.errors import UserError
from ril_bench.leaderboard.adapter_files import halved
from ril_bench.leaderboard.check import check
from ril_bench.leaderboard.record import read_card
from ril_bench.leaderboard.submit import lacks_adapters, rehearse
from ril_bench.leaderboard.template import TEMPLATE
from ril_bench.storage.run_folder import RunFolder
from tests import tiny
from tests.leaderboard.world import CARD, executed


@pytest.fixture
def runs(honest: Path) -> Path:
    return honest.parent / "runs"


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "method.yaml"
    path.write_text(yaml.safe_dump(CARD))
    return path


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_an_entry_holds_what_its_metrics_need(runs: Path, card: Path, tmp_path: Path) -> None:
    entries = ril_bench.submit([runs], method_yaml=card, to=tmp_path / "board")
    assert [entry.name for entry in entries] == ["seed-0", "seed-1", "seed-2"]
    assert files(entries[0]) == {
        "run.json",
        "scores.parquet",
        "matrix.csv",
        "metrics.json",
        "contact.webp",
        "digests.json",
        "step-1/adapter.safetensors",
        "step-2/adapter.safetensors",
    }
    run = next(runs.rglob("seed-0"))
    for name in ("scores.parquet", "matrix.csv"):
        assert (entries[0] / name).read_bytes() == (run / name).read_bytes()
    for name, own in (("run.json", {"sha256", "files", "files_being_written"}), ("metrics.json", {"sha256"})):
        entry, whole = (json.loads((folder / name).read_text()) for folder in (entries[0], run))
        assert entry == {key: value for key, value in whole.items() if key not in own}
    assert Image.open(entries[0] / "contact.webp").size == (4 * 64, 3 * 64)  # prompts x steps
    assert (entries[0].parents[3] / "method.yaml").read_bytes() == card.read_bytes()


def test_the_contact_sheet_shows_the_runs_images(runs: Path, honest: Path) -> None:
    run, sheet = next(runs.rglob("seed-1")), next(honest.rglob("seed-1")) / "contact.webp"
    with Image.open(sheet) as whole:
        tile = np.asarray(whole.crop((64, 128, 128, 192)), float)  # second prompt, step 2
    images = {
        path: np.asarray(Image.open(path).convert("RGB"), float) for path in run.glob("step-*/images/*.png")
    }
    nearest = min(images, key=lambda path: np.abs(images[path] - tile).mean())
    assert nearest == run / "step-2/images/001-0.png"
    assert np.abs(images[nearest] - tile).mean() < 6  # of 255


def test_adapters_are_stored_in_half_precision(runs: Path, honest: Path) -> None:
    run, entry = (next(place.rglob("seed-0")) for place in (runs, honest))
    for step in (1, 2):
        whole, half = (load_file(place / f"step-{step}/adapter.safetensors") for place in (run, entry))
        assert {tensor.dtype for tensor in half.values()} == {np.dtype(np.float16)}
        for name, tensor in whole.items():
            np.testing.assert_allclose(half[name].astype(np.float32), tensor, rtol=2**-11, atol=2**-25)


@pytest.mark.parametrize("value", [1e5, 1e-9])
def test_an_adapter_without_room_in_half_precision_stays_as_it_is(value: float) -> None:
    data = save({"a": np.full((2, 2), value, np.float32)})
    assert halved(data) == data
    assert load(halved(save({"a": np.full((2, 2), 0.1, np.float32)})))["a"].dtype == np.float16


@pytest.mark.parametrize(
    ("out", "into", "rank"), [(4, 6, 4), (4, 6, 9), (6, 4, 5), (5, 5, 8), (4, 6, 3), (6, 4, 1)]
)
def test_no_layer_of_an_entry_has_a_rank_above_its_smaller_side(out: int, into: int, rank: int) -> None:
    rng = np.random.default_rng(0)
    down, up = rng.normal(size=(rank, into)), rng.normal(size=(out, rank))
    change = up @ down
    up[0], change[0] = 0, 0  # a merge sets values to 0: they stay exactly 0
    written = load(halved(save({"x.lora_A.weight": np.float32(down), "x.lora_B.weight": np.float32(up)})))
    a, b = written["x.lora_A.weight"], written["x.lora_B.weight"]
    assert a.dtype == b.dtype == np.float16
    assert len(a) == b.shape[1] == min(rank, out, into)
    assert np.float64(b) @ np.float64(a) == pytest.approx(change, rel=2e-3, abs=5e-3)
    assert not (np.float64(b) @ np.float64(a))[0].any()


@pytest.mark.slow
def test_a_strangers_method_is_in_its_entries(sequences: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text((registry.shipped("baselines") / "naive.py").read_text() + "# mine\n")
    runs = executed(tmp_path / "runs", method=str(file))
    card = tmp_path / "method.yaml"
    card.write_text(yaml.safe_dump(CARD))
    entry = ril_bench.submit(runs, method_yaml=card, to=tmp_path / "board")[0]
    stored = entry.parents[3] / "method.py"
    assert stored.read_bytes() == file.read_bytes()
    assert [verdict.valid for verdict in check(tmp_path / "board")] == [True] * 4
    stored.write_text("print('another')")
    assert "method.py is not the file of the run: it is another file" in str(
        list(check(tmp_path / "board"))[-1].faults[0]
    )
    stored.unlink()
    assert "there is none" in str(list(check(tmp_path / "board"))[-1].faults[0])
    copy = file.rename(tmp_path / "moved.py")
    with pytest.raises(UserError, match="not the file of mine that the runs used"):
        ril_bench.submit(runs, method_yaml=card, to=tmp_path / "other")
    ril_bench.submit(runs, method_yaml=card, to=tmp_path / "other", method_file=copy)
    assert next((tmp_path / "other").rglob("method.py")).read_bytes() == copy.read_bytes()


def test_a_large_adapter_is_not_submitted(
    runs: Path, card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ril_bench.leaderboard.submit.ADAPTER_BYTES", 100)
    entry = ril_bench.submit([runs], method_yaml=card, to=tmp_path / "board")[0]
    assert not list(entry.rglob("*.safetensors"))
    assert lacks_adapters(entry)
    assert next(iter(check(entry))).valid


def refused(runs: Path, card: Path, board: Path) -> str:
    before = files(board)
    with pytest.raises(UserError) as error:
        ril_bench.submit([runs], method_yaml=card, to=board)
    assert files(board) == before, "nothing is written"
    return str(error.value)


def test_what_check_would_refuse_is_not_written(runs: Path, card: Path, tmp_path: Path) -> None:
    message = refused(next(runs.rglob("seed-1")), card, tmp_path / "board")
    assert "this would be refused: 1 fault" in message
    assert "seeds [0, 2] are missing" in message


def test_an_entry_is_never_changed(runs: Path, card: Path, board: Path) -> None:
    assert "exists already" in refused(runs, card, board)


@pytest.mark.slow
def test_a_group_of_seeds_is_extended(card: Path, tmp_path: Path) -> None:
    """The new seeds alone would lack those that are on the board."""
    runs, board = executed(tmp_path / "runs", 4), tmp_path / "board"
    card.write_text(yaml.safe_dump(CARD | {"seeds": 4}))
    ril_bench.submit(runs[:3], method_yaml=card, to=board)
    (added,) = ril_bench.submit(runs[3:], method_yaml=card, to=board)
    assert added.name == "seed-3"
    assert all(verdict.valid for verdict in check(board))


@pytest.mark.slow
def test_a_second_sequence_goes_beside_the_first_under_the_same_card(
    runs: Path, card: Path, board: Path, tmp_path: Path
) -> None:
    executed(tmp_path / "runs", order="reversed")
    changed = tmp_path / "changed.yaml"
    changed.write_text(card.read_text().replace("Apache-2.0", "MIT"))
    assert "another method.yaml exists already" in refused(tmp_path / "runs", changed, board)
    ril_bench.submit([tmp_path / "runs"], method_yaml=card, to=board)
    assert [verdict.valid for verdict in check(board)] == [True] * 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": ["budget.updates=1"]}, "unofficial settings"),
        ({"method": "ema"}, "one method in one revision"),
    ],
)
def test_runs_that_cannot_be_entries(
    runs: Path, card: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    made = tiny.runner("tiny-shapes", tmp_path / "runs", **options).execute()  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        ril_bench.submit([next(runs.rglob("seed-0")), made], method_yaml=card, to=tmp_path / "board")
    assert not (tmp_path / "board").exists()


def test_all_faults_of_a_card_at_once(runs: Path, card: Path, tmp_path: Path) -> None:
    card.write_text(yaml.safe_dump({**CARD, "seeds": 1, "licens": "MIT", "paper": "ftp://x"}))
    message = refused(runs, card, tmp_path / "board")
    assert all(word in message for word in ("seeds", "did you mean 'licence'?", "paper", f"{card}:"))


def test_the_verb(
    runs: Path,
    card: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["submit", runs, "--method-yaml", card, "--to", tmp_path / "board"]
    monkeypatch.setattr(sys, "argv", ["ril-bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert printed.count("/seed-") == 3
    method = tmp_path / "board" / "entries" / "naive"
    assert f"check {method} --resample all" in printed.replace("\n", "")
    assert method.is_dir()
    digests = json.loads(next((tmp_path / "board").rglob("digests.json")).read_text())
    assert "digests.json" not in digests


def test_a_rehearsal_lists_what_would_be_refused(runs: Path, card: Path, tmp_path: Path) -> None:
    assert rehearse([runs], card=card) == []
    one = next(runs.rglob("seed-1"))
    (seeds,) = rehearse([one], card=card)
    assert "seeds [0, 2] are missing" in seeds.what
    assert "no method.yaml" in rehearse([runs])[0].what
    (tmp_path / "short.yaml").write_text("paper: none\n")
    (short,) = rehearse([runs], card=tmp_path / "short.yaml")
    assert f"{tmp_path / 'short.yaml'}:1: authors: missing" in short.what  # the file to edit
    unofficial = shutil.copytree(one, tmp_path / "unofficial")
    folder = RunFolder(unofficial)
    folder.update_run(official=False)
    assert "unofficial settings" in {fault.what for fault in rehearse([unofficial], card=card)}
    folder.update_run(official=True, status="running")
    (unfinished,) = rehearse([unofficial], card=card)
    assert unfinished.what == "this run is unfinished, not complete"


def test_the_template_is_complete_and_must_be_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "method.yaml"
    path.write_text(TEMPLATE)
    with pytest.raises(UserError) as error:
        read_card(path)
    faults = str(error.value)
    assert all(f"{key}:" in faults for key in ("authors", "licence", "description", "trials.how"))
    assert not any(word in faults for word in ("missing", "unknown"))
    path.write_text(yaml.safe_dump(yaml.safe_load(TEMPLATE) | CARD))
    assert read_card(path).seeds == 3
