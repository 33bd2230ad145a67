"""Prompt sets: every format has the same prompts, and files that do not fit are refused."""

from __future__ import annotations

import csv
import json
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ril_bench.data import prompts as module
from ril_bench.data.prompts import NAMED, SHIPPED, STYLES, load_prompts, locate_prompts
from ril_bench.data.tables import SUFFIXES, is_text
from ril_bench.errors import RilError, UserError
from ril_bench.remote.published import FILES, used_by
from ril_bench.remote.search import FOLDER

PROMPTS = ["a cat, on a mat", "none", "une étoile “rouge”", "a cat, on a mat"]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):  # the name depends on the version
        monkeypatch.setattr(datasets.config, name, True, raising=False)


def written(file: Path) -> str:
    table = pd.DataFrame({"id": range(len(PROMPTS)), "prompt": PROMPTS})
    match file.suffix:
        case ".txt":
            file.write_text("\n\n".join(f"  {prompt} " for prompt in PROMPTS) + "\n")
        case ".csv":
            table.to_csv(file, index=False)
        case ".tsv":
            file.write_text(
                "\n".join(["Id\tPrompt", *(f"{i}\t{prompt}" for i, prompt in enumerate(PROMPTS))])
            )
        case ".json":
            file.write_text(json.dumps(PROMPTS))
        case ".jsonl":
            table.to_json(file, orient="records", lines=True)
        case ".parquet":
            table.to_parquet(file)
    return str(file)


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_format_returns_the_prompts_in_their_order(tmp_path: Path, suffix: str) -> None:
    assert load_prompts(written(tmp_path / f"set{suffix}")) == PROMPTS


@pytest.mark.parametrize("reference", SHIPPED)
def test_shipped_sets(reference: str) -> None:
    prompts = load_prompts(reference)
    assert len(prompts) >= 64
    assert all(prompt and prompt == prompt.strip() for prompt in prompts)


def test_no_evaluation_prompt_is_a_training_prompt() -> None:
    assert not set(load_prompts("shapes/train")) & set(load_prompts("shapes/eval"))


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "set.txt"
    file.write_text("a\n")
    assert load_prompts(str(file)) == ["a"]
    file.write_text("b\n")
    assert load_prompts(str(file)) == ["b"]


@pytest.mark.parametrize("suffix", [".TXT", ".Csv", ".JSONL"])
def test_the_case_of_a_suffix_does_not_matter(tmp_path: Path, suffix: str) -> None:
    file = Path(written(tmp_path / f"set{suffix.lower()}"))
    assert load_prompts(str(file.rename(tmp_path / f"Set{suffix}"))) == PROMPTS


@pytest.mark.parametrize("name", ["set [v2]/p.txt", "what?.txt", "a*b.txt", "{x}.txt", "~x.txt"])
def test_no_character_of_a_name_is_a_pattern(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set [v2]").mkdir()
    for other in ("whatX.txt", "aab.txt", "x.txt"):
        (tmp_path / other).write_text("another file\n")
    (tmp_path / name).write_text("mine\n")
    assert load_prompts(str(tmp_path / name)) == ["mine"]
    monkeypatch.chdir(tmp_path)
    assert load_prompts(f"./{name}") == ["mine"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".json", ".jsonl"])
def test_a_mark_of_the_encoding_is_no_part_of_the_text(tmp_path: Path, suffix: str, encoding: str) -> None:
    file = Path(written(tmp_path / f"set{suffix}"))
    file.write_bytes(file.read_text(encoding="utf-8").encode(encoding))
    assert load_prompts(str(file)) == PROMPTS


def test_invisible_lines_are_blank(tmp_path: Path) -> None:
    file = tmp_path / "set.txt"
    file.write_text("\ufeff\n\u200b\n \na cat\r\n\x01\n")
    assert load_prompts(str(file)) == ["a cat"]


def test_marks_inside_joined_files_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "set.txt"
    file.write_text("\ufeffa cat\n\ufeffa dog\n")
    assert load_prompts(str(file)) == ["a cat", "a dog"]


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".json", ".jsonl"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_another_encoding_without_a_mark_is_refused(tmp_path: Path, suffix: str, encoding: str) -> None:
    """Its bytes may be valid UTF-8, with a NUL in each character."""
    file = Path(written(tmp_path / f"set{suffix}"))
    file.write_bytes(file.read_text(encoding="utf-8").encode(encoding))
    with pytest.raises(UserError, match="is not UTF-8") as caught:
        load_prompts(str(file))
    assert "UTF-8" in str(caught.value.hint)


def test_a_prompt_with_a_nul_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text('["a cat", "a\\u0000dog"]')
    with pytest.raises(UserError, match="row 2 is not text"):
        load_prompts(str(tmp_path / "set.json"))


def test_columns_that_are_not_used_are_not_parsed(tmp_path: Path) -> None:
    rows = [f"a cat {i},{i if i < 12_000 else 'many'}" for i in range(15_000)]
    (tmp_path / "votes.csv").write_text("\n".join(["prompt,votes", *rows]) + "\n")
    assert len(load_prompts(str(tmp_path / "votes.csv"))) == 15_000


def test_a_file_without_a_known_suffix_is_not_asked_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("some").mkdir()
    Path("some/prompts").write_text("a cat\n")
    for reference in ("some/prompts", "./some/prompts"):
        with pytest.raises(UserError, match="does not state the format") as caught:
            load_prompts(reference)
        assert ".txt" in str(caught.value.hint)
    with pytest.raises(UserError, match="no prompts at"):
        load_prompts("./some/other")


@pytest.mark.parametrize("column", ["prompt", "text", "caption", "Prompts", "PROMPT", "anything"])
def test_the_text_column(tmp_path: Path, column: str) -> None:
    file = tmp_path / "set.csv"
    file.write_text(f"number,{column}\n1,a cat\n")
    assert load_prompts(str(file)) == ["a cat"]


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("a.txt", "", "empty"),
        ("a.txt", " \n\n", "empty"),
        ("a.csv", "left,right\na,b\n", "no column holds the prompts: the columns are left, right"),
        ("a.csv", "prompt\n1\n", "row 1 is not text: it is a number"),
        ("a.csv", "sep=,\nprompt,other\na cat,b\n", "first line, sep=, is for a spreadsheet program"),
        ("a.csv", "id,prompt\n1,a cat\n2,\n", "row 2 is not text"),
        ("a.json", "{nope", "cannot read"),
        ("a.json", '["a", null]', "row 2 is not text"),
        ("a.parquet", "nope", "cannot read"),
        ("a.csv", "prompt\na dog\na cat, oil painting\n", "line 3 has 2 columns, and the header has 1"),
        ("a.csv", "prompt,kind\na dog\n", "line 2 has 1 columns"),
        ("a.csv", "prompt;kind\na red circle;shapes\n", "seem to be separated by"),
        ("a.csv", "prompt\tkind\na red circle\tshapes\n", "seem to be separated by tabs"),
        ("a.tsv", "prompt,kind\na red circle,shapes\n", "seem to be separated by commas"),
        (
            "a.csv",
            "a red circle\na blue star\n",
            "first line does not name a column of prompts: a red circle",
        ),
        ("a.csv", "circle\nstar\n", "first line does not name a column of prompts: circle"),
        ("a.csv", "1,a red circle\n2,a blue star\n", "first line does not name a column of prompts"),
        ("a.csv", 'prompt\n"a cat\n', "line 2: unexpected end of data"),
        ("a.csv", "prompt,prompt\na,b\n", "two columns have the same name"),
        ("a.txt", "caf\udce9\n", "line 1 is not UTF-8"),
        ("a.csv", "prompt\na cat\ncaf\udce9\n", "line 3 is not UTF-8"),
        ("a.jsonl", '{"prompt": "a cat"}\n{"prompt": 1}\n', "row 2 is not text"),
        ("a.jsonl", '{"prompt": "a cat"}\n{nope}\n', "cannot read the file: line 2"),
        ("a.json", "[" * 100_000, "cannot read"),
        ("a.json", '["half of \\ud83d"]', "row 1 is not text"),
        ("a.json", '{"prompt": ["a", "b"], "kind": ["c"]}', "different lengths"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, name: str, text: str, what: str) -> None:
    file = tmp_path / name
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=what) as caught:
        load_prompts(str(file))
    assert caught.value.where == str(file)


@pytest.mark.parametrize(
    ("reference", "what"),
    [
        ("none.txt", "no prompts at none.txt"),
        ("shapes/trian", "no prompt set is called"),
        ("one word too many", "names no prompt set"),
        ("nobody/no-such-set:train", "nobody/no-such-set"),
    ],
)
def test_a_missing_set_is_refused(reference: str, what: str) -> None:
    with pytest.raises(RilError, match=what):
        load_prompts(reference)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), min_size=1
    )
)
def test_any_text_survives_parquet(tmp_path_factory: pytest.TempPathFactory, prompts: list[str]) -> None:
    table = pd.DataFrame({"prompt": prompts, "other": "x"})
    folder = tmp_path_factory.getbasetemp()
    table.to_parquet(folder / "any.parquet")
    (folder / "any.json").write_text(json.dumps(prompts))
    (folder / "any.jsonl").write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in prompts))
    for name in ("any.parquet", "any.json", "any.jsonl"):
        assert load_prompts(str(folder / name)) == prompts
    if not all(map(_is_number, prompts)):  # a column of numbers holds no prompts
        with (folder / "any.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["prompt", "other"], *([prompt, "x"] for prompt in prompts)])
        assert load_prompts(str(folder / "any.csv")) == prompts


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(SUFFIXES), st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode())
)
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / f"bytes{suffix}"
    file.write_bytes(data)
    with suppress(UserError):
        prompts = load_prompts(str(file))
        assert all(prompt == prompt.strip() and is_text(prompt) for prompt in prompts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# -- published sets ------------------------------------------------------------------------------------------

SHARED = os.environ.get("RIL_BENCH_SHARED_DATA", "")  # a folder of real published files
real = pytest.mark.skipif(not SHARED, reason="$RIL_BENCH_SHARED_DATA names no folder of real files")


def test_a_tsv_is_read_without_quoting(tmp_path: Path) -> None:
    file = tmp_path / "set.tsv"
    file.write_text('Prompt\tCategory\n"Fly, he said\tWords\nthe word "START"\tWords\n42\tAbstract\n')
    assert load_prompts(str(file)) == ['"Fly, he said', 'the word "START"', "42"]


def test_a_category_beside_the_prompts_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "set.csv"
    file.write_text("Prompts,Category\nA red car.,Colors\n")
    assert load_prompts(str(file)) == ["A red car."]


@pytest.mark.parametrize("name", NAMED)
def test_every_named_set_is_found(name: str) -> None:
    assert locate_prompts(name) is None
    assert bool(used_by(name)) == (NAMED[name] is None)


def test_every_file_of_prompts_belongs_to_a_named_set() -> None:
    of_prompts = {user for file in FILES for user in file.used_by if user in NAMED}
    assert of_prompts == {name for name, on_hub in NAMED.items() if on_hub is None}


def test_a_named_set_joins_the_prompts_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    files = [replace(file, sha256=None) for file in used_by("hpdv2")]
    monkeypatch.setattr(module, "used_by", lambda name: [file for file in files if name in file.used_by])
    for style, file in zip(STYLES, files, strict=True):
        path = tmp_path / file.repo / file.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([f"{style} one", f"{style} two"]))
    assert load_prompts("hpdv2") == [f"{style} {number}" for style in STYLES for number in ("one", "two")]
    assert load_prompts("hpdv2/photo") == ["photo one", "photo two"]


def test_a_set_of_the_hub_is_read_from_a_folder_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    (tmp_path / "drawbench.csv").write_text("Prompts,Category\nA red car.,Colors\n")
    assert load_prompts("drawbench") == ["A red car."]


def test_the_error_for_a_missing_named_set_states_how_to_get_it() -> None:
    with pytest.raises(UserError, match="animals is not on this machine, and downloads are off") as caught:
        load_prompts("animals")
    assert "AlignProp" in str(caught.value.where)
    with pytest.raises(UserError, match="names no prompt set") as caught:
        load_prompts("animal")
    assert str(caught.value.hint).startswith("did you mean 'animals' or ")


@real
@pytest.mark.parametrize(("name", "count"), [("animals", 45), ("animals/eval", 6), ("hpdv2/train", 750)])
def test_real_lists(name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real files match their digests, and each named set finds its file."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    local = {"assets/eval_simple_animals.txt": "simple_animals_eval.txt"}
    (file,) = used_by(name)
    target = tmp_path / file.file
    target.parent.mkdir(parents=True)
    shutil.copyfile(Path(SHARED) / local.get(file.file, target.name), target)
    assert len(load_prompts(name)) == count


@real
def test_the_real_benchmark_of_hpdv2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    (tmp_path / "benchmark").mkdir()
    for style in STYLES:
        shutil.copyfile(Path(SHARED) / f"hpdv2/benchmark_{style}.json", tmp_path / f"benchmark/{style}.json")
    assert len(load_prompts("hpdv2")) == 3200
    trained, other = (
        set(load_prompts(str(Path(SHARED) / name))) for name in ("hps_v2_all.txt", "hps_v2_all_eval.txt")
    )
    assert not trained & other
    assert trained | other == set(load_prompts("hpdv2/photo"))
    for style in STYLES[:3]:
        assert not trained & set(load_prompts(f"hpdv2/{style}"))


@real
def test_the_real_drawbench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, SHARED)
    prompts = load_prompts("drawbench")
    assert len(prompts) == 200
    assert prompts[0] == "A red colored car."
