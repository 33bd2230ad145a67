"""Many runs as one table: intervals from five seeds on, points below; holes and mixed scales refused."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from scipy import stats

from ril_bench.cli import app
from ril_bench.errors import UserError
from ril_bench.reporting import comparison, summary
from ril_bench.reporting.find import find_runs
from ril_bench.reporting.holes import drop_holes
from ril_bench.reporting.place import chosen_places
from ril_bench.reporting.tables import write_table
from ril_bench.sequences.sequence_file import load_sequence
from tests.reporting.synthetic import write_run


def runs(out: Path, count: int, method: str = "naive", first: int = 0, **options: object) -> list[Path]:
    label = f"@{options['label']}" if options.get("label") else ""
    return [
        write_run(
            out / "shapes-ril" / "given" / f"{method}{label}" / "draft" / f"seed-{seed}",
            method=method,
            seed=seed,
            prompts=3,
            pixels=16,
            updates=1,
            **options,  # type: ignore[arg-type]
        )
        for seed in range(first, first + count)
    ]


def figure(folder: Path, name: str = "BWT") -> float:
    return float(json.loads((folder / "metrics.json").read_text())["continual"]["normalised"][name])


def table(*places: Path) -> pd.DataFrame:
    return summary.table(summary.load(places)).set_index(["method", "figure"])


def test_five_units_get_a_student_interval(tmp_path: Path) -> None:
    values = np.array([figure(folder) for folder in runs(tmp_path, 5)])
    row = table(tmp_path).loc[("naive", "BWT")]
    assert (row["low"], row["high"]) == pytest.approx(
        stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    )
    assert row["mean"] == pytest.approx(values.mean())
    assert row["iqm"] == pytest.approx(stats.trim_mean(values, 0.25))
    assert row["points"] == ()


def test_fewer_units_are_shown_one_by_one_and_nothing_is_claimed(tmp_path: Path) -> None:
    folders = runs(tmp_path, 2)
    runs(tmp_path, 2, "rid", keep=0.8)
    rows = table(tmp_path)
    assert rows.loc[("naive", "BWT"), "points"] == tuple(figure(folder) for folder in folders)
    for name in ("low", "high", "difference_low", "difference_high", "p", "p_holm"):
        assert rows[name].isna().all()


def test_methods_are_paired_with_naive_by_unit(tmp_path: Path) -> None:
    naive, rid = runs(tmp_path, 10), runs(tmp_path, 10, "rid", keep=0.5)
    runs(tmp_path, 10, "ewc", keep=0.36)
    a, b = ([figure(folder) for folder in folders] for folders in (rid, naive))
    row = table(tmp_path).loc[("rid", "BWT")]
    test = stats.ttest_rel(a, b)
    assert row["p"] == pytest.approx(test.pvalue)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(test.confidence_interval())
    improved = sum(new > old for new, old in zip(a, b, strict=True)) / 10
    assert row["improvement"] == pytest.approx(improved)
    assert row["p_holm"] == pytest.approx(2 * row["p"])  # the smaller of two
    forget = table(tmp_path).loc[("rid", "FORGET")]
    assert forget["improvement"] == pytest.approx(improved)  # lower is better there


def test_p_values_are_adjusted_wherever_there_are_any(tmp_path: Path) -> None:
    for method in ("naive", "rid", "ewc"):
        runs(tmp_path, 5, method)
    rows = table(tmp_path).dropna(subset="p")
    assert len(rows)
    assert rows["p_holm"].notna().all()
    assert (rows["p_holm"] >= rows["p"]).all()


def test_a_label_is_part_of_the_method_and_an_oracle_comes_last(tmp_path: Path) -> None:
    oracle = runs(tmp_path, 1, "joint")
    info = json.loads((oracle[0] / "run.json").read_text())
    info["method"]["oracle"] = True
    (oracle[0] / "run.json").write_text(json.dumps(info))
    runs(tmp_path, 1, "rid", label="gentle")
    runs(tmp_path, 1)
    methods = list(dict.fromkeys(method for method, _ in table(tmp_path).index))
    assert methods == ["naive", "rid@gentle", "joint"]


# -- what is refused -----------------------------------------------------------------------------------------


def refused(*places: Path) -> str:
    with pytest.raises(UserError) as caught:
        summary.table(summary.load(places))
    return str(caught.value)


def test_every_missing_cell_is_named_with_its_command(tmp_path: Path) -> None:
    runs(tmp_path, 3)
    runs(tmp_path, 1, "rid", first=1, label="gentle")
    message = refused(tmp_path)
    assert "2 holes" in message
    for seed in (0, 2):
        assert f"rid@gentle / draft / seed {seed} (no run)" in message
        (line,) = re.findall(rf"ril-bench run .*--seed {seed}\b.*", message)
        words = shlex.split(line)
        options = dict(zip(words[3::2], words[4::2], strict=True))
        assert words[2] == "shapes-ril"
        assert options["--method"] == "rid"
        assert options["--label"] == "gentle"
        assert options["--set"] == "method.strength=0.001"
        assert Path(options["--out"]) == tmp_path


def test_runs_may_be_named_from_within_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    naive, _ = runs(tmp_path, 2)
    runs(tmp_path, 1, "rid")
    monkeypatch.chdir(naive.parents[2])
    assert f"--out {tmp_path}" in refused(Path("naive"), Path("rid"))


def test_the_command_is_one_that_the_verb_takes(tmp_path: Path) -> None:
    options = {"space": "x0", "layers": [1, 2], "teacher": None, "on": True}
    for folder in [*runs(tmp_path, 2), *runs(tmp_path, 1, "rid", first=7, label="a b")]:
        info = json.loads((folder / "run.json").read_text())
        if info["method"]["name"] == "rid":
            info["method"]["options"] = options
        info["order"], info["official"] = "2-1-3", False
        (folder / "run.json").write_text(json.dumps(info))
    verb = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    lines = re.findall(r"ril-bench run .*", refused(tmp_path))
    assert len(lines) == 3  # two methods on three seeds, less the three runs that are there
    for line in lines:
        words = shlex.split(line, comments=True)[2:]
        context = verb.make_context("run", list(words))
        assert context.params["sequence"] == "shapes-ril"
        if context.params["method"] == "rid":
            settings = dict(setting.split("=") for setting in context.params["settings"])
            read = {key: yaml.safe_load(value) for key, value in settings.items()}
            assert read == {f"method.{key}": value for key, value in options.items()}
            assert "with the settings of" in line
    assert all("--order 2-1-3" in line for line in lines)


def in_order(order: str, folders: list[Path]) -> None:
    for folder in folders:
        info = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(info | {"order": order}))


def test_each_order_has_a_table_of_its_own(tmp_path: Path) -> None:
    runs(tmp_path / "a", 5, keep=0.4)
    runs(tmp_path / "a", 5, "rid", keep=0.8)
    in_order(
        "reversed", runs(tmp_path / "b", 2, keep=0.7)
    )  # fewer seeds, and no rid: no hole in the given order
    loaded = summary.load([tmp_path])
    both = summary.table(loaded).set_index(["order", "method", "figure"])
    alone = table(tmp_path / "a")
    pd.testing.assert_frame_equal(
        both.loc["given"][[*alone.columns.drop("order")]], alone.drop(columns=["order"]), check_dtype=False
    )
    assert both.loc[("reversed", "naive", "FORGET"), "seeds"] == 2
    titles = re.findall(r"\*\*(.*?) \(", write_table(summary.table(loaded), "md"))
    assert titles == ["shapes-ril / draft", "shapes-ril / reversed / draft"]
    chosen = chosen_places(loaded, sequence=(), order=["reversed"])
    assert {run.order for run in chosen} == {"reversed"}
    with pytest.raises(UserError, match="no run has the order 'reverse'") as caught:
        chosen_places(loaded, order=["reverse"])
    assert caught.value.where == "--order"
    assert "reversed" in str(caught.value.hint)


@pytest.mark.parametrize(("status", "shown"), [("running", "unfinished"), ("failed", "failed")])
def test_an_incomplete_run_is_a_hole(tmp_path: Path, status: str, shown: str) -> None:
    runs(tmp_path, 1)
    runs(tmp_path, 1, "rid", status=status)
    message = refused(tmp_path)
    assert f"({shown}" in message
    assert "--method rid" in message
    if status == "failed":
        assert "loss is not finite)" in message  # its first line: a traceback or a hint is in run.json


def test_one_cell_twice_is_refused(tmp_path: Path) -> None:
    first, second = runs(tmp_path / "a", 1), runs(tmp_path / "b", 1)
    message = refused(tmp_path)
    assert str(first[0]) in message
    assert str(second[0]) in message


def test_normalised_and_plain_runs_do_not_mix(tmp_path: Path) -> None:
    runs(tmp_path, 1)
    runs(tmp_path, 1, "rid", calibrated=False)
    assert "some are not" in refused(tmp_path)


def test_a_missing_figure_is_never_zero(tmp_path: Path) -> None:
    folders = runs(tmp_path, 5)
    metrics = json.loads((folders[2] / "metrics.json").read_text())
    metrics["continual"]["normalised"]["FINAL"] = None
    (folders[2] / "metrics.json").write_text(json.dumps(metrics))
    row = table(tmp_path).loc[("naive", "FINAL")]
    assert np.isnan(row[["mean", "low", "high"]].astype(float)).all()
    assert "–" in write_table(summary.table(summary.load([tmp_path])), "md")


def test_holes_are_dropped_with_a_note(tmp_path: Path) -> None:
    runs(tmp_path, 3)
    runs(tmp_path, 2, "rid")
    runs(tmp_path, 1, "ewc", first=7)
    kept, left_out = drop_holes(summary.load([tmp_path]))
    assert sorted((run.name, run.seed) for run in kept) == [
        ("naive", 0),
        ("naive", 1),
        ("rid", 0),
        ("rid", 1),
    ]
    assert left_out[0].startswith("ewc on shapes-ril / draft: it has no complete run that the other methods")
    assert "(seeds 2)" in left_out[1]
    assert set(summary.table(kept)["method"]) == {"naive", "rid"}


def test_a_command_names_the_file_of_a_method_and_the_changed_settings(tmp_path: Path) -> None:
    sequence = load_sequence("shapes-smoke").model_dump(mode="json")
    sequence["budget"]["updates"] = 7
    changed = {"sequence_reference": "shapes-smoke", "official": False}
    folders = runs(tmp_path, 2, **changed)
    folders += runs(tmp_path, 1, "mine", method_reference="my methods/mine.py", **changed)
    for folder in folders:
        info = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(info | {"sequence": sequence}))
    (line,) = re.findall(r"ril-bench run .*", refused(tmp_path))
    words = shlex.split(line)
    assert words[words.index("--method") + 1] == "my methods/mine.py"
    assert words[words.index("--set") + 1] == "budget.updates=7"
    assert "with the settings of" not in line


# -- finding -------------------------------------------------------------------------------------------------


def test_runs_are_found_below_and_counted_once(tmp_path: Path) -> None:
    folders = runs(tmp_path, 11)
    for inside in (folders[0] / "step-1", folders[0] / "checkpoint"):
        inside.mkdir(exist_ok=True)
        (inside / "run.json").write_text("{}")
    for purpose in ("tuning", "calibration"):  # not results
        runs(tmp_path / purpose, 1, purpose=purpose)
    assert find_runs([tmp_path, folders[3], tmp_path / "shapes-ril"]) == folders  # seed-2 before seed-10
    with pytest.raises(UserError, match="no run here"):
        find_runs([tmp_path, folders[0] / "step-2"])


def test_runs_are_found_below_any_name_that_is_not_hidden(tmp_path: Path) -> None:
    """Methods, sequences and labels choose these names, also one that a folder inside a run has."""
    named = [tmp_path / name / "seed-0" for name in ("checkpoint-test", "step-1", "step-wise", ".trash")]
    for folder in named:
        write_run(folder, prompts=2, pixels=16, updates=1)
    assert find_runs([tmp_path]) == named[:-1]


def test_linked_runs_are_found_once_and_loops_end(tmp_path: Path) -> None:
    (folder,) = runs(tmp_path / "disk", 1)
    place = tmp_path / "runs"
    place.mkdir()
    (place / "linked").symlink_to(tmp_path / "disk")
    (place / "loop").symlink_to(place)
    (place / "twice").symlink_to(tmp_path / "disk")
    assert [found.resolve() for found in find_runs([place])] == [folder]


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runs would be missing from the means in silence. Root may read any folder, so scandir refuses here."""
    folder = runs(tmp_path, 2)[1]

    def refusing(path: str) -> Any:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(UserError, match="cannot be read: Permission denied") as error:
        find_runs([tmp_path])
    assert error.value.where == str(folder)


# -- formats -------------------------------------------------------------------------------------------------


def test_csv_reads_back(tmp_path: Path) -> None:
    folders = runs(tmp_path, 5)
    read = pd.read_csv(io.StringIO(write_table(summary.table(summary.load([tmp_path])), "csv")))
    row = read[read["figure"] == "BWT"].iloc[0]
    assert row["mean"] == pytest.approx(np.mean([figure(folder) for folder in folders]), rel=1e-12)


NASTY = r"a|b <b>&\_$x^2~#%{}" + "\n`c` [d](e)"


def test_a_name_is_text_in_markdown_and_latex(tmp_path: Path) -> None:
    runs(tmp_path, 1)
    (nasty,) = runs(tmp_path, 1, "rid")
    info = json.loads((nasty / "run.json").read_text())
    info["method"]["name"] = NASTY
    (nasty / "run.json").write_text(json.dumps(info))
    made = summary.table(summary.load([tmp_path]))
    rows = [line for line in write_table(made, "md").splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert r"a\|b \<b\>\&\\\_$x^2\~\#%\{\} \`c\` \[d\](e)" in rows[0]
    lines = write_table(made, "latex").splitlines()
    body = [line for line in lines if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {2}
    assert (
        r"a\textbar{}b \textless{}b\textgreater{}\&\textbackslash{}\_\$x\textasciicircum{}2"
        r"\textasciitilde{}\#\%\{\} `c` {[}d{]}(e)"
    ) in body[0]
    assert lines.count(r"\toprule") == lines.count(r"\midrule") == lines.count(r"\bottomrule") == 1


@pytest.mark.parametrize(("methods", "down"), [(2, "FORGET"), (40, "m39")])
def test_whichever_is_more_goes_down(tmp_path: Path, methods: int, down: str) -> None:
    rows = [
        {"sequence": "s", "order": "given", "tuner": "t", "method": f"m{m}", "oracle": False, "figure": name}
        | {
            "scale": "z",
            "seeds": 1,
            "mean": 1.0,
            "low": np.nan,
            "high": np.nan,
            "points": (1.0,),
            "floor": np.nan,
        }
        | {"collapsed": 0, "biased": False}
        for m in range(methods)
        for name in ("FORGET", "FINAL", "LEARN")
    ]
    lines = write_table(pd.DataFrame(rows), "md").splitlines()
    assert any(line.startswith(f"| {down} |") for line in lines)


# -- compare -------------------------------------------------------------------------------------------------


def test_compare_pairs_by_sequence_order_tuner_and_seed(tmp_path: Path) -> None:
    naive, rid = runs(tmp_path, 5), runs(tmp_path, 5, "rid", keep=0.8)
    rows = comparison.compare(summary.load(naive[::-1]), summary.load(rid)).set_index("figure")
    test = stats.ttest_rel([figure(f) for f in rid], [figure(f) for f in naive])
    interval = test.confidence_interval()
    assert rows.loc["BWT", ["difference_low", "difference_high"]].tolist() == pytest.approx(list(interval))
    assert rows.loc["BWT", "improvement"] == 1.0
    assert rows.loc["FORGET", "improvement"] == 1.0


def test_compare_refuses_what_has_no_partner(tmp_path: Path) -> None:
    naive, rid = runs(tmp_path, 3), runs(tmp_path, 2, "rid")
    with pytest.raises(UserError, match=r"seed 2, only in A"):
        comparison.compare(summary.load(naive), summary.load(rid))
    with pytest.raises(UserError, match="several methods: naive, rid"):
        comparison.compare(summary.load(naive), summary.load([rid[0], naive[0]]))


def test_rewards_are_in_z_too_where_asked(tmp_path: Path) -> None:
    runs(tmp_path, 2)
    runs(tmp_path, 2, "rid", keep=0.8)
    loaded = summary.load([tmp_path])
    plain, both = (summary.table(loaded, z=z).set_index(["method", "figure"]) for z in (False, True))
    pd.testing.assert_frame_equal(both.loc[plain.index], plain)
    extra = both.index.difference(plain.index)
    assert {"FINAL (z)", "FORGET (z)", "LEARN (z)"} <= set(extra.get_level_values("figure"))
    assert all(name.endswith(" (z)") for name in extra.get_level_values("figure"))
    for name in ("FINAL", "FORGET"):  # the made-up runs have z = 3.1 N
        row, z = both.loc[("rid", name)], both.loc[("rid", f"{name} (z)")]
        assert z["mean"] == pytest.approx(3.1 * row["mean"])
        assert z["improvement"] == row["improvement"]  # in the same direction
    assert both.loc[("rid", "FORGET (z)"), "floor"] == pytest.approx(3.1 * 0.03)


def test_each_reward_has_its_gain_and_its_end(tmp_path: Path) -> None:
    (run,) = summary.load([write_run(tmp_path / "run", prompts=3, pixels=16, updates=1)])
    found = summary.table([run]).set_index("figure")["mean"]
    matrix = run.continual("normalised", "N")
    for j, name in enumerate(run.rewards):
        assert found[f"gain {name}"] == pytest.approx(matrix[j + 1][j] - matrix[j][j])
        assert found[f"end {name}"] == pytest.approx(matrix[-1][j])
    ends = [found[f"end {name}"] for name in run.rewards]
    assert (np.mean(ends), min(ends)) == pytest.approx((found["FINAL"], found["WORST"]))


def test_a_collapsed_step_is_marked_in_tables(tmp_path: Path) -> None:
    runs(tmp_path, 2, keep=0.1)
    runs(tmp_path, 2, "rid", keep=0.95)
    found = summary.table(summary.load([tmp_path]))
    by_method = found.set_index(["method", "figure"])
    assert by_method.loc[("naive", "FINAL"), "collapsed"] == 2
    assert by_method.loc[("rid", "FINAL"), "collapsed"] == 0
    assert by_method.loc[("naive", "collapsed steps"), "mean"] > 0
    words = write_table(found, "md")
    assert "naive ‡" in words
    assert "rid ‡" not in words
    assert "‡ a step of some seed collapsed" in words
    assert "naive \\textdaggerdbl{}" in write_table(found, "latex")
