"""`check` recognises the kind of a name or a file, and reports as text and as plain data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ril_bench.conformance import check as module
from ril_bench.conformance.check import CheckReport, check, kind_of
from ril_bench.conformance.scaffold import new
from ril_bench.conformance.suite import CheckResult
from ril_bench.errors import UserError
from tests.tiny import write_sequence


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind"),
    [("shapes-ril", "sequence"), ("rid", "method"), ("refl", "tuner"), ("symmetry", "reward")],
)
def test_a_name_is_recognised(name, kind):
    assert kind_of(name) == kind


@pytest.mark.parametrize("kind", ["method", "tuner", "reward", "sequence"])
def test_a_file_is_recognised(kind):
    assert kind_of(f"./{new(kind, 'mine')}") == kind


def test_a_grid_is_checked_by_planning_its_runs(here, tiny_sequence):
    Path("grid.yaml").write_text(f"sequences: [{tiny_sequence}]\nmethods: [naive, rid]\nseeds: [0, 1]\n")
    report = check("./grid.yaml")
    assert (report.kind, report.ok, report.results[0].note) == ("grid", True, "4 runs")
    Path("grid.yaml").write_text(f"sequences: [{tiny_sequence}]\nmethods: [ridd]\n")
    assert "no method is called 'ridd'" in check("./grid.yaml").results[0].fault


@pytest.mark.parametrize(
    ("reference", "text", "what"),
    [
        ("shapes-rli", None, "no sequence, method, tuner or reward is called 'shapes-rli'"),
        ("./none.py", None, "there is no file ./none.py"),
        ("./empty.py", "", "exactly one subclass of Method, Tuner or Reward; it defines none"),
        (
            "./two.py",
            "from ril_bench import Method, Reward\nclass A(Method): pass\nclass B(Reward): pass\n",
            "it defines A, B",
        ),
    ],
)
def test_what_cannot_be_checked_is_refused(reference, text, what):
    if text is not None:
        Path(reference).write_text(text)
    with pytest.raises(UserError, match=what.replace("(", r"\(")):
        kind_of(reference)


def test_a_report_is_text_and_plain_data(monkeypatch):
    results = [
        CheckResult("loads"),
        CheckResult("runs", "it stops", "do not"),
        CheckResult("ends", note="slowly"),
    ]
    monkeypatch.setattr(module, "_results", lambda kind, reference: iter(results))
    shown = []
    report = check("rid", progress=shown.append)
    assert shown == results
    assert not report.ok
    assert report.lines == [
        "ok      loads",
        "fault   runs",
        "        it stops",
        "        hint: do not",
        "ok      ends",
        "        note: slowly",
        "method rid: 1 of 3 checks failed",
    ]
    assert json.loads(json.dumps(report.plain()))["results"][2]["note"] == "slowly"
    assert CheckReport("rid", "method", tuple(results[::2])).verdict == "method rid: all checks passed"


def test_a_sequence_without_its_weights_is_checked_as_far_as_possible():
    report = check("sd15-ril")
    assert report.ok
    assert report.results[-1].skipped
    assert "the model stable-diffusion-v1-5" in report.results[-1].note
    assert "ril-bench doctor sd15-ril" in report.results[-1].note
    checks = len(report.results)
    assert report.verdict == f"sequence sd15-ril: {checks - 1} of {checks} checks passed, 1 skipped"
    assert "skipped loads" in "\n".join(report.lines)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"evaluation": {"prompts": 9, "images_per_prompt": 1, "seed": 1}}, "asks for 9 prompts"),
        ({"tuner": {"name": "draft", "kk": 1}}, "unknown option 'kk'"),
        ({"tasks": [{"reward": "jpeg_kb"}]}, "jpeg_kb has none"),
    ],
)
def test_a_fault_of_a_sequence_is_found(here, tiny_data, changes, fault):
    report = check(write_sequence(here / "mine.yaml", tiny_data, **changes))
    assert any(fault in (result.fault or "") for result in report.results)


def test_a_sequence_with_its_weights_is_loaded(tiny_sequence):
    report = check(tiny_sequence)
    assert report.ok
    assert report.results[-1].note.endswith("weight files; 3 evaluation prompts")


def test_a_file_that_hangs_at_its_import_is_stopped(here):
    Path("mine.py").write_text("while True:\n    pass\n")
    with pytest.raises(UserError, match=r"not done after 1 s, in <module> \(line [12]\)"):
        check("./mine.py", timeout=1)


@pytest.mark.slow
def test_a_hook_that_hangs_is_stopped_and_named(here):
    lines = ["import time", "from ril_bench import Method", "class Mine(Method):", "    'Waits.'"]
    lines += ["    def bind(self, model):", "        time.sleep(1000)"]
    Path("mine.py").write_text("\n".join(lines))
    report = check("./mine.py", timeout=5)
    assert any("not done after 5 s, in bind (line 6)" in (result.fault or "") for result in report.results)


@pytest.mark.parametrize("code", ["sys.exit(0)", "os._exit(0)", "raise BaseException('odd')", "exit()"])
@pytest.mark.parametrize("place", ["__init__", "score"])
def test_a_reward_that_ends_the_process_is_a_fault(here, code, place):
    first, last = (code, "pass") if place == "__init__" else ("pass", code)
    Path("mine.py").write_text(
        "import os, sys\nfrom ril_bench import Reward\nclass Mine(Reward):\n    'Exits.'\n"
        "    name, unit = 'mine', 'levels'\n"
        f"    def __init__(self, device='cpu'):\n        super().__init__(device); {first}\n"
        f"    def score(self, images, prompts):\n        {last}\n"
    )
    report = check("./mine.py")
    assert not report.ok
    assert any(
        fault.startswith(("it ends the process", "BaseException: odd")) and "(mine.py:" in fault
        for fault in (result.fault or "" for result in report.results)
    )


def test_a_method_that_ends_the_process_is_a_fault(here):
    Path("mine.py").write_text(
        "import sys\nfrom ril_bench import Method\nclass Mine(Method):\n    'Exits.'\n"
        "    def bind(self, model):\n        sys.exit(0)\n"
    )
    report = check("./mine.py")
    assert not report.ok
    assert any("ended the process (in bind)" in (result.fault or "") for result in report.results)
