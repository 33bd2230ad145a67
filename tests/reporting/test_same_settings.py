"""A row of a table is the mean of one thing: runs of other settings are refused, and what is no setting is not."""

from __future__ import annotations

import copy
import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ril_bench
from ril_bench.errors import UserError
from ril_bench.reporting import comparison, summary
from ril_bench.reporting.holes import drop_holes
from ril_bench.reporting.same_settings import other_sequences, refuse_mixed
from ril_bench.storage.read import StoredRun
from tests.reporting.html import read
from tests.reporting.stated import info, stored
from tests.reporting.synthetic import write_run


def refusal(*infos: dict[str, Any]) -> str | None:
    try:
        refuse_mixed([stored(f"run-{k}", content) for k, content in enumerate(infos)])
    except UserError as error:
        return str(error)
    return None


BASE = info()


def changed(**changes: Any) -> dict[str, Any]:
    """BASE with other values: a__0__b=1 is {"a": [{"b": 1}]}."""
    content = copy.deepcopy(BASE)
    for key, value in changes.items():
        *parents, last = key.split("__")
        inner: Any = content
        for part in parents:
            inner = inner[int(part) if isinstance(inner, list) else part]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    return content


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (changed(method__resolved__strength=99.0), "method.strength is 10.0 and 99.0"),
        (changed(method__options={"later": 1}), "method.later is not set and 1"),
        (changed(tuners__1__resolved__cap=2.0), "tuner.cap is null and 2.0"),
        (info(settings={"budget.updates": 7}), "budget.updates is 60 and 7"),
        (info(settings={"tasks.2.budget.updates": 7}), "budget.updates is 60 and 7"),
        (info(settings={"tuner.k": 2}), "tuner.k is 4 and 2"),
        (info(settings={"tuner.k": 2}, order="reversed"), "tuner.k is 4 and 2"),
        (info(settings={"unit": 1.0}, order="reversed"), "unit is not set and 1.0"),
        (changed(sequence_sha256="0" * 64), "sequence_sha256 of the order given is"),
    ],
)
def test_other_settings_are_refused_with_both_runs_and_the_difference(
    other: dict[str, Any], words: str
) -> None:
    for pair in ([BASE, other], [BASE, BASE, other]):
        message = refusal(*pair)
        assert message is not None
        assert words in message
        assert f"run-0 and run-{len(pair) - 1}" in message
    assert refusal(other, BASE) is not None


@pytest.mark.parametrize(
    "other",
    [
        info(seed=7),
        info(order="reversed"),
        info(order="3-1-2"),
        changed(calibration={"file": "a", "sha256": "b"}, device="cuda", hardware={"cpu": "another"}),
        changed(tuners=None),  # runs of earlier versions
        changed(method__resolved=None),
        changed(sequence_sha256=None, sequence_reference="./elsewhere/shapes-ril.yaml"),
        changed(method__resolved__decay=None),  # an option that a later version added
        changed(tuners__0__resolved__cap=None),
        changed(sequence={}, sequence_sha256=None),
    ],
)
def test_what_is_no_setting_or_was_not_stored_does_not_count(other: dict[str, Any]) -> None:
    assert refusal(BASE, other) is None
    assert refusal(other, BASE) is None


def test_a_key_that_a_sequence_had_not_has_its_default() -> None:
    before, with_default, with_another = (
        changed(sequence__evaluation__probes=probes, sequence_sha256=None) for probes in (None, [], ["clip"])
    )
    assert refusal(before, with_default) is None
    assert 'evaluation.probes is [] and ["clip"]' in str(refusal(before, with_another))


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    return [path] if items is None else [leaf for key, one in items for leaf in leaves(one, (*path, key))]


SETTINGS = [
    *(("sequence", *leaf) for leaf in leaves(BASE["sequence"]) if leaf != ("name",)),
    *(("method", "resolved", *leaf) for leaf in leaves(BASE["method"]["resolved"])),
    *(("tuners", *leaf) for leaf in leaves(BASE["tuners"]) if leaf[-1] != "name"),
]


@settings(deadline=None)
@given(leaf=st.sampled_from(SETTINGS), seed=st.integers(0, 99))
def test_any_changed_setting_is_found_whatever_the_order_of_tasks(leaf: tuple[Any, ...], seed: int) -> None:
    other = copy.deepcopy(BASE)
    *parents, last = leaf
    inner: Any = other
    for key in parents:
        inner = inner[key]
    value = inner[last]
    inner[last] = (
        not value
        if isinstance(value, bool)
        else value + 1
        if isinstance(value, int | float)
        else f"{value}-other"
    )
    tasks = list(zip(other["sequence"]["tasks"], other["tuners"], strict=True))
    random.Random(seed).shuffle(tasks)
    other["sequence"]["tasks"], other["tuners"] = ([task[k] for task in tasks] for k in (0, 1))
    other["order"], other["sequence_sha256"] = "shuffled", "0" * 64
    assert refusal(BASE, other) is not None


def test_a_file_in_another_folder_is_the_same_setting() -> None:
    here, there, other = (
        changed(sequence__prompts__eval=place, sequence_sha256=None)
        for place in ("/home/a/prompts.txt", "/home/b/prompts.txt", "/home/a/others.txt")
    )
    assert refusal(here, there) is None
    assert 'prompts.eval is "prompts.txt" and "others.txt"' in str(refusal(here, other))


# -- tables --------------------------------------------------------------------------------------------------


def written(
    folder: Path, method: str, seed: int, change: Callable[[dict[str, Any]], object] | None = None
) -> Path:
    run = write_run(
        folder / method / f"seed-{seed}", method=method, seed=seed, prompts=3, pixels=16, updates=1
    )
    content = json.loads((run / "run.json").read_text())
    (change or (lambda _: None))(content)
    (run / "run.json").write_text(json.dumps(content))
    return run


def of_another_budget(content: dict[str, Any]) -> None:
    content["sequence"]["budget"] = {"updates": 7}
    content["sequence_sha256"] = "c" * 64


def test_a_table_and_a_comparison_refuse_them(tmp_path: Path) -> None:
    one = written(tmp_path, "rid", 0, lambda content: content["method"]["resolved"].update(strength=1.0))
    ten = written(tmp_path, "rid", 1, lambda content: content["method"]["resolved"].update(strength=10.0))
    runs = summary.load([tmp_path])
    for use in (summary.table, drop_holes, lambda runs: comparison.compare(runs, runs)):
        with pytest.raises(UserError, match=r"runs of rid on shapes-ril / draft have other") as caught:
            use(runs)
        assert caught.value.where == f"{one} and {ten}"
        assert "method.strength is 1.0 and 10.0" in caught.value.what


def test_methods_on_other_settings_of_a_sequence_are_named(tmp_path: Path) -> None:
    written(tmp_path, "naive", 0, of_another_budget)
    written(tmp_path, "ewc", 0)
    written(tmp_path, "rid", 0)
    (site,) = [words for words in summary.other_settings(summary.load([tmp_path])) if "rid" in words]
    assert site.startswith("naive and rid ran other settings of shapes-ril / draft: sequence_sha256")
    with pytest.warns(UserWarning, match="naive and (ewc|rid) ran other settings"):
        page = ril_bench.report(tmp_path, out=tmp_path / "site")
    assert site in read(page).text
    with pytest.warns(UserWarning, match="rid and naive ran other settings"):
        ril_bench.compare(tmp_path / "rid", tmp_path / "naive")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ril_bench.compare(tmp_path / "rid", tmp_path / "ewc")


def test_the_stored_leaderboard_has_one_sequence_and_no_mixed_row() -> None:
    entries = Path(__file__).parents[2] / "leaderboard" / "entries"
    by_method: dict[tuple[str, ...], list[StoredRun]] = {}
    for file in sorted(entries.glob("*/*/*/*/*/*/run.json")):
        run = StoredRun(file.parent)
        by_method.setdefault((*file.parts[-7:-5], run.sequence, run.tuner), []).append(run)
    assert len(by_method) > 5
    for runs in by_method.values():
        refuse_mixed(runs)
    every = [run for runs in by_method.values() for run in runs]
    assert other_sequences(every, every) == []
