"""The page is read back by Python's own HTML parser, never by the code that wrote it."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from ril_bench.errors import UserError
from ril_bench.reporting.film import Images
from ril_bench.reporting.run_page import run_page, write_page, write_page_after_run
from ril_bench.reporting.side_by_side import write_side_by_side
from ril_bench.storage.entry_note import EntryNote
from ril_bench.storage.read import StoredRun
from tests.reporting.html import edit, read
from tests.reporting.synthetic import write_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("runs") / "naive", prompts=12, updates=20)
    write_page(folder)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_one_file_that_asks_for_nothing_else(finished: Path) -> None:
    page = read(finished / "report.html")
    html = (finished / "report.html").read_text()
    assert not page.all("script")
    assert not page.all("iframe")
    assert not page.all("object")
    for _, attributes in page.elements:
        for key in ("src", "href", "srcset", "poster", "data", "action"):
            assert (attributes.get(key) or "#").startswith(("data:", "#"))
        assert not any(key.startswith("on") for key in attributes)
    assert "://" not in html
    assert "@import" not in html
    assert "url(" not in html.replace("url(#", "")


def test_every_figure_and_image_has_an_alternative(finished: Path) -> None:
    page = read(finished / "report.html")
    figures = page.all("svg")
    assert len(figures) == 3 + 7
    assert all(figure["role"] == "img" and len(str(figure["aria-label"])) > 20 for figure in figures)
    assert len({figure["aria-label"] for figure in figures}) == len(figures)
    images = page.all("img")
    assert len(images) == 4 * 8
    assert all(str(image["alt"]).startswith("naive, step ") for image in images)


def test_images_are_the_files(finished: Path) -> None:
    page = read(finished / "report.html")
    stored = {path.read_bytes() for path in finished.glob("step-*/images/*.png")}
    for image in page.all("img"):
        kind, _, data = str(image["src"]).partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data) in stored


def test_figures_of_the_files_are_on_the_page(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    page = read(finished / "report.html")
    normalised = metrics["continual"]["normalised"]
    for key in ("FINAL", "LEARN", "BWT", "FORGET"):
        assert f"{normalised[key]:.2f}".replace("-", "−") in page.text
    for row in normalised["N"] + normalised["effect"]:
        for value in row:
            assert f"{value:.2f}".replace("-", "−") in page.text
    assert "floor 0.03" in page.text
    assert "biased" in page.text
    assert "1.07×" in page.text
    assert "6\u202f000" in page.text
    assert "403.5 kB" in page.text
    assert "d" * 64 in page.text


def test_settings_and_conventions_are_words(finished: Path) -> None:
    text = " ".join(read(finished / "report.html").text.split())
    assert "method naive strength 0.001" in text
    assert "method naive space x0" in text
    assert "tuner draft k 1" in text
    assert "tuner draft cap –" in text  # its default, too
    assert "Computed from 64 features of 12 images." in text
    assert "LPIPS weights of layers equal" in text
    assert "{'" not in text
    assert "Kernel distance between the images as a whole" in text  # the glossary


def test_tasks_with_other_tuners_have_their_own_options(copy: Path) -> None:
    draft, refl = ({"name": "draft", "resolved": {"k": k}} for k in (1, 4))
    edit(copy / "run.json", tuners=[draft, refl | {"name": "refl"}, draft])
    text = " ".join(read(write_page(copy)).text.split())
    assert "tuner draft of tasks 1, 3 k 1" in text
    assert "tuner refl of task 2 k 4" in text
    edit(copy / "run.json", tuners=None)  # an earlier version's run
    assert "tuner draft k 1" in " ".join(read(write_page(copy)).text.split())


def test_same_files_give_the_same_bytes(finished: Path, copy: Path) -> None:
    before = (finished / "report.html").read_bytes()
    assert write_page(finished).read_bytes() == before
    assert write_page(copy).read_bytes() == before  # wherever the folder lies
    assert not list(copy.glob(".*"))


def test_names_are_text(copy: Path) -> None:
    nasty = '<img src=x onerror=alert(1)> & $x^2$ "q" \u0007'
    info = json.loads((copy / "run.json").read_text())
    metrics = json.loads((copy / "metrics.json").read_text())
    prompts = [p | {"prompt": nasty} for p in json.loads((copy / "prompts.json").read_text())]
    (copy / "prompts.json").write_text(json.dumps(prompts))
    edit(copy / "metrics.json", rewards=[nasty, *metrics["rewards"][1:]], units={nasty: nasty}, notes=[nasty])
    edit(
        copy / "run.json",
        method=info["method"] | {"name": nasty, "doc": nasty, "options": {nasty: nasty}},
        failure={"class": nasty, "message": nasty},
        versions={nasty: nasty},
        sequence={"name": "\ud800</style><script>", "tasks": []},
    )
    page = read(write_page(copy))
    assert not page.all("script")
    assert len(page.all("img")) == 4 * 8
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert nasty in page.text
    assert any(nasty[:20] in str(figure["aria-label"]) for figure in page.all("svg"))


def test_missing_values_are_dashes_not_zeros(copy: Path) -> None:
    metrics = json.loads((copy / "metrics.json").read_text())
    continual = metrics["continual"]["normalised"]
    gone = dict.fromkeys(("FINAL", "LEARN", "BWT", "FORGET", "FORGET_floor"))
    grid = [[None] * 3] * 3 + [[7.77] * 3]
    metrics["continual"] = {"normalised": continual | gone | {"N": grid}, "z": None, "raw": None}
    metrics["fidelity"]["steps"] = [{"step": 0, "fid": None}]
    metrics["fidelity"]["floor"] = None
    metrics["structure"]["steps"] = []
    edit(copy / "metrics.json", **metrics)
    (copy / "matrix.csv").write_text("step,aesthetic,compressibility,brightness\n0,1.5,,nan\n1,1.75,-0.0,\n")
    (copy / "scores.parquet").unlink()
    shutil.rmtree(copy / "step-2")
    page = read(write_page(copy))
    values = [part.split()[0] for part in page.text.split("BWT")[1:2]]
    assert values == ["–"]
    assert "floor –" in page.text
    assert page.text.count("7.77") == 3
    assert len([a for a in page.all("td") if str(a.get("class")).startswith("none")]) == 9
    assert "1.75" in page.text
    assert "−0.00" not in page.text
    assert "±" not in page.text.replace("± its", "")
    assert len(page.all("img")) == 3 * 8


def test_a_missing_image_is_a_dash(copy: Path) -> None:
    for path in (copy / "step-3" / "images").glob("*.png"):
        path.unlink()
    page = read(write_page(copy))
    blanks = [a for a in page.all("span") if a.get("class") == "blank"]
    assert len(blanks) == 8
    assert all("no image at step 3" in str(blank["aria-label"]) for blank in blanks)


def test_without_calibration_the_scale_is_z(tmp_path: Path) -> None:
    page = read(write_page(write_run(tmp_path / "run", prompts=6, updates=3, calibrated=False)))
    assert "no calibration" in page.text
    assert "standard deviation" in page.text
    assert "2.9" in page.text  # 3.1 x 0.95


def test_a_run_of_one_task(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", tasks=1, prompts=3, updates=1)
    page = read(write_page(folder))
    assert "one reward, aesthetic" in page.text
    assert len(page.all("svg")) == 1 + 7
    assert len(page.all("img")) == 2 * 3


def test_a_run_that_failed_at_once(tmp_path: Path) -> None:
    failure = {"class": "NumericalError", "message": "loss is nan at step 1"}
    (tmp_path / "run.json").write_text(
        json.dumps(
            {
                "schema_version": 1,
                "status": "failed",
                "failure": failure,
                "sequence": {"tasks": [{"reward": "a"}]},
            }
        )
    )
    page = read(write_page(tmp_path))
    assert "NumericalError" in page.text
    assert "loss is nan at step 1" in page.text
    assert not page.all("svg")
    assert not page.all("img")
    (tmp_path / "run.json").write_text('{"schema_version": 1}')
    assert "status unknown" in read(write_page(tmp_path)).text


def test_a_line_that_a_killed_run_did_not_finish_is_left_out(copy: Path) -> None:
    with (copy / "log.jsonl").open("a") as file:
        file.write('{"task": 3, "upda')
    before = write_page(copy).read_bytes()
    assert b"in 20 updates" in before
    with (copy / "log.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(UserError, match=r"log\.jsonl"):
        write_page(copy)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", b"{"),
        ("run.json", b'{"schema_version": 2}'),
        ("run.json", b"[]"),
        ("metrics.json", b"\xff"),
        ("matrix.csv", b"step,a\n0,1,2\n"),
        ("matrix.csv", b"step,a\nzero,1\n"),
        ("scores.parquet", b"PAR1"),
        ("step-1/images/000-0.png", b"\x89PNG\r\n\x1a\n"),
    ],
)
def test_a_broken_file_is_named_and_the_old_page_stays(copy: Path, file: str, content: bytes) -> None:
    for path in (copy / "step-1" / "images").glob("*.png") if "png" in file else [copy / file]:
        path.write_bytes(content)
    before = (copy / "report.html").read_bytes()
    with pytest.raises(UserError) as caught:
        write_page(copy)
    assert str(copy / file).rpartition("/")[0] in str(caught.value)
    assert "hint: " in str(caught.value)
    assert (copy / "report.html").read_bytes() == before


def test_the_page_of_an_entry_has_nothing_that_no_check_covers(copy: Path) -> None:
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["notes"] = ["verified by the maintainers"]
    metrics["scales"] = [{"step": 1, "scale": 0.5, "rewards": {"invented": 9.0}}]
    metrics["fidelity"]["convention"] = {"features": "the official ones"}
    (copy / "metrics.json").write_text(json.dumps(metrics))
    words = ("verified by the maintainers", "invented", "the official ones")
    shown = {
        entry is None: [word in run_page(StoredRun(copy, entry), Images()).decode() for word in words]
        for entry in (None, EntryNote({}, "abc", False, None))
    }
    assert shown == {True: [True] * 3, False: [False] * 3}


def test_a_page_that_fails_does_not_lose_the_run(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write_page_after_run(copy) == copy / "report.html"
    (copy / "metrics.json").write_bytes(b"\xff")
    assert write_page_after_run(copy) is None
    reported = capsys.readouterr().err
    assert "the run is stored, but its page was not written: metrics.json cannot be read" in reported
    assert f"ril-bench report {copy}" in reported


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.json"):
        write_page(tmp_path)


def test_large_images_are_shrunk_and_not_pixelated(tmp_path: Path) -> None:
    page = read(write_page(write_run(tmp_path / "run", tasks=1, prompts=2, updates=1, pixels=320)))
    sizes = {
        Image.open(io.BytesIO(base64.b64decode(str(p["src"]).partition(",")[2]))).size
        for p in page.all("img")
    }
    assert sizes == {(256, 256)}
    assert "film" in {a.get("class") for a in page.all("table")}


def test_side_by_side(finished: Path, tmp_path: Path) -> None:
    rid = write_run(tmp_path / "a #1? run", method="rid", keep=0.9, prompts=12, updates=20)
    page = read(write_side_by_side([finished, rid], tmp_path / "out" / "demo.html"))
    assert [a["href"] for a in page.all("a")][1] == "./../a%20%231%3F%20run/report.html"
    figures = page.all("svg")
    figures = [f for f in figures if "aria-hidden" not in f]
    assert len(figures) == 3 + 7
    assert len({f["aria-label"] for f in figures}) == len(figures)
    assert len(page.all("img")) == 8 + 3 * 2 * 8  # the pretrained model is drawn once
    for folder in (finished, rid):
        normalised = json.loads((folder / "metrics.json").read_text())["continual"]["normalised"]
        assert f"{normalised['FINAL']:.2f}" in page.text


def test_side_by_side_leaves_out_columns_that_no_run_has(finished: Path, tmp_path: Path) -> None:
    def text(*runs: Path) -> str:
        return read(write_side_by_side(runs, tmp_path / "demo.html")).text

    untimed = [Path(shutil.copytree(finished, tmp_path / name)) for name in ("naive", "soup")]
    for run in untimed:
        edit(run / "run.json", cost=None)
    assert "to bare cost" in text(finished, untimed[0])
    assert "to bare cost" not in text(*untimed)


def test_side_by_side_puts_all_runs_on_one_scale(finished: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "z", prompts=12, updates=2, calibrated=False)
    page = read(write_side_by_side([finished, other], tmp_path / "demo.html"))
    z = json.loads((finished / "metrics.json").read_text())["continual"]["z"]["FINAL"]
    assert f"{z:.2f}" in page.text
    assert "standard deviation" in page.text
    # Both runs are called naive: more than the method's name is needed to tell them apart.
    assert "1: naive" in page.text
    assert "2: naive" in page.text


def test_side_by_side_refuses_runs_that_were_not_asked_the_same(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tasks"):
        write_side_by_side(
            [finished, write_run(tmp_path / "b", tasks=2, prompts=12, updates=1)], tmp_path / "demo.html"
        )
    with pytest.raises(UserError, match="prompts"):
        write_side_by_side(
            [finished, write_run(tmp_path / "c", prompts=6, updates=1)], tmp_path / "demo.html"
        )
    with pytest.raises(UserError, match="no run"):
        write_side_by_side([], tmp_path / "demo.html")
    assert not (tmp_path / "demo.html").exists()
