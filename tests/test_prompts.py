"""Prompt sets from files: every format gives the same prompts, and what cannot serve is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ril_bench.errors import RilError, UserError
from ril_bench.prompts import SHIPPED, load_prompts

PROMPTS = ["a cat, on a mat", "none", "une étoile “rouge”", "a cat, on a mat"]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def written(file: Path) -> str:
    table = pd.DataFrame({"id": range(len(PROMPTS)), "prompt": PROMPTS})
    match file.suffix:
        case ".txt":
            file.write_text("\n\n".join(f"  {prompt} " for prompt in PROMPTS) + "\n")
        case ".csv":
            table.to_csv(file, index=False)
        case ".json":
            file.write_text(json.dumps(PROMPTS))
        case ".jsonl":
            table.to_json(file, orient="records", lines=True)
        case ".parquet":
            table.to_parquet(file)
    return str(file)


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".json", ".jsonl", ".parquet"])
def test_every_format_gives_the_prompts_in_their_order(tmp_path: Path, suffix: str) -> None:
    assert load_prompts(written(tmp_path / f"set{suffix}")) == PROMPTS


@pytest.mark.parametrize("reference", SHIPPED)
def test_shipped_sets(reference: str) -> None:
    prompts = load_prompts(reference)
    assert len(prompts) >= 64
    assert all(prompt and prompt == prompt.strip() for prompt in prompts)


def test_the_evaluation_holds_nothing_that_is_trained_on() -> None:
    assert not set(load_prompts("shapes/train")) & set(load_prompts("shapes/eval"))


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "set.txt"
    file.write_text("a\n")
    assert load_prompts(str(file)) == ["a"]
    file.write_text("b\n")
    assert load_prompts(str(file)) == ["b"]


@pytest.mark.parametrize("column", ["prompt", "text", "caption", "anything"])
def test_the_text_column(tmp_path: Path, column: str) -> None:
    file = tmp_path / "set.csv"
    file.write_text(f"number,{column}\n1,a cat\n")
    assert load_prompts(str(file)) == ["a cat"]


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("a.txt", "", "empty"),
        ("a.txt", " \n\n", "empty"),
        ("a.csv", "left,right\na,b\n", "no column is the prompts: there are left, right"),
        ("a.csv", "prompt\n1\n", "row 1 is not text"),
        ("a.csv", "id,prompt\n1,a cat\n2,\n", "row 2 is not text"),
        ("a.json", "{nope", "cannot read"),
        ("a.json", '["a", null]', "row 2 is not text"),
        ("a.parquet", "nope", "cannot read"),
    ],
)
def test_a_file_that_cannot_serve(tmp_path: Path, name: str, text: str, what: str) -> None:
    file = tmp_path / name
    file.write_text(text)
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
def test_a_set_that_is_not_there(reference: str, what: str) -> None:
    with pytest.raises(RilError, match=what):
        load_prompts(reference)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), min_size=1
    )
)
def test_any_text_survives_parquet(tmp_path_factory: pytest.TempPathFactory, prompts: list[str]) -> None:
    file = tmp_path_factory.getbasetemp() / "any.parquet"
    pd.DataFrame({"prompt": prompts}).to_parquet(file)
    assert load_prompts(str(file)) == prompts
