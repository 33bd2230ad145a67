"""Complete runs, and the files that they write."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
import torch

import ril_bench
from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.storage import names
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.run_folder import RunFolder
from tests.running.stopping import log_lines, status
from tests.tiny import results, runner, write_sequence


def test_the_files_of_a_run(finished):
    found = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    found -= {names.PAGE}  # another test calls a verb on this run, and the verb writes this page
    images = {f"{prompt}-{number}.png" for prompt in ("000", "001", "002") for number in (0, 1)}
    expected = {
        "run.json",
        "scores.parquet",
        "matrix.csv",
        "metrics.json",
        "log.jsonl",
    }
    expected |= {"prompts.json", *(f"step-0/fid-reference/{image}" for image in images)}
    expected |= {f"step-{i}/images/{image}" for i in range(3) for image in images}
    expected |= {f"step-{i}/scores.parquet" for i in range(3)}
    expected |= {f"step-{i}/{name}" for i in (1, 2) for name in ("adapter.safetensors", "drift.parquet")}
    assert found - {".lock"} == expected  # some versions of filelock delete the file of a released lock


def test_run_json_states_the_run_and_its_machine(finished, tiny_sequence, tiny_pipeline):
    run = status(finished)
    sequence = load_sequence(tiny_sequence)
    assert (run["schema_version"], run["status"], run["failure"]) == (1, "complete", None)
    assert (run["order"], run["seed"], run["device"], run["official"]) == ("given", 0, "cpu", True)
    assert run["sequence"] == sequence.model_dump(mode="json")
    assert run["sequence_sha256"] == sequence.sha256
    assert run["method"] == {
        "name": "naive",
        "label": None,
        "options": {},
        "resolved": {},
        "file_sha256": sha256_file(registry.shipped("baselines") / "naive.py"),
        "oracle": False,
        "doc": registry.load("method", "naive").__doc__.partition("\n")[0],
    }
    assert run["tuner"] == {"name": "draft", "options": {"k": 1}}
    tuner = registry.load("tuner", "draft")(k=1).options.model_dump(mode="json")
    assert run["tuners"] == [{"name": "draft", "resolved": tuner}] * 2
    assert len(tuner) > 1  # defaults, too
    assert run["started"] <= run["finished"]
    assert run["calibration"] is None
    assert torch.__version__.startswith(run["versions"]["torch"])
    assert run["hardware"]["threads"] == 1
    unet = f"{tiny_pipeline.name}/unet/diffusion_pytorch_model.safetensors"
    assert run["weights"][unet] == sha256_file(tiny_pipeline / "unet/diffusion_pytorch_model.safetensors")


def test_run_json_has_the_cost_of_each_step(finished):
    run = status(finished)
    steps = run["steps"]
    assert [(step["step"], step["reward"]) for step in steps] == [
        (0, None),
        (1, "brightness"),
        (2, "symmetry"),
    ]
    for step in steps[1:]:
        # 2 updates of 2 guided images at 3 steps; 6 guided images at 3 steps; their drift from one or two other steps
        assert step["denoiser_forwards"] == 2 * 2 * 2 * 3 + 6 * 2 * 3 * (1 + step["step"])
        assert step["denoiser_backwards"] == 2 * 2 * 2
        assert step["reward_calls"] == 2 * 2 + 2 * 6
        assert step["trainable_bytes"] == step["stored_bytes"] > 0
        assert step["carried_bytes"] >= step["stored_bytes"]
        assert step["train_seconds"] > 0
        assert step["evaluation_seconds"] > 0
        assert step["peak_memory_bytes"] > 10_000_000
    assert steps[0]["train_seconds"] == steps[0]["trainable_bytes"] == 0
    cost = run["cost"]
    assert cost["training_seconds"] == pytest.approx(sum(step["train_seconds"] for step in steps))
    for part in ("training", "run"):
        ratio = cost[f"{part}_seconds"] / cost[f"{part}_bare_seconds"]
        assert cost[f"{part}_ratio"] == pytest.approx(ratio)
    assert isinstance(cost["bare_cached"], bool)


def test_the_tables_agree_with_each_other(finished):
    scores = pd.read_parquet(finished / "scores.parquet")
    assert list(scores) == ["step", "reward", "prompt_id", "sample", "score", "trained"]
    assert len(scores) == 3 * 2 * 6
    matrix = pd.read_csv(finished / "matrix.csv", index_col="step")
    assert list(matrix) == ["brightness", "symmetry"]
    means = scores.pivot_table(index="step", columns="reward", values="score")
    pd.testing.assert_frame_equal(matrix, means[list(matrix)], check_names=False)
    assert matrix.diff().abs().iloc[1:].to_numpy().min() > 0  # each task changes each reward
    log = log_lines(finished)
    assert [(line["task"], line["update"], line["reward"]) for line in log] == [
        *((1, update, "brightness") for update in (0, 1)),
        *((2, update, "symmetry") for update in (0, 1)),
    ]
    prompts = json.loads((finished / "prompts.json").read_text())
    assert [entry["prompt_id"] for entry in prompts] == ["000", "001", "002"]


def test_the_same_seed_gives_the_same_bytes(finished, tiny_sequence, tmp_path, monkeypatch):
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))  # so that step 0 is generated again
    again = runner(tiny_sequence, tmp_path).execute()
    assert results(again) == results(finished)
    assert log_lines(again) == log_lines(finished)
    other = results(runner(tiny_sequence, tmp_path, seed=1).execute())
    assert other["step-0/images/000-0.png"] == results(finished)["step-0/images/000-0.png"]
    assert other["step-1/adapter.safetensors"] != results(finished)["step-1/adapter.safetensors"]


def test_a_finished_run_returns_at_once(finished, tiny_sequence, monkeypatch):
    def never(*_: Any) -> None:
        raise AssertionError("loaded something")

    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.name != ".lock"}
    monkeypatch.setattr("ril_bench.running.materials.Materials.load", never)
    assert runner(tiny_sequence, finished.parents[4]).execute() == finished
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_two_runs_in_one_folder_at_once(finished, tiny_sequence):
    with (
        RunFolder(finished).lock(),
        pytest.raises(UserError, match="another run is at work here") as caught,
    ):
        runner(tiny_sequence, finished.parents[4]).execute()
    assert caught.value.where == str(finished)
    assert status(finished)["status"] == "complete"


@pytest.mark.parametrize(
    ("changes", "differ"),
    [
        ({"settings": ["budget.updates=3"], "label": None}, "settings of the sequence"),
        ({"method": "rid"}, "method"),
        ({"seed": 4}, "seed"),
    ],
)
def test_a_folder_of_another_run_is_refused(finished, tiny_sequence, changes, differ, monkeypatch):
    before = status(finished)
    other = runner(tiny_sequence, finished.parents[4], **changes)
    other.folder = RunFolder(finished)  # a label, a copied folder or an edited sequence may cause this
    with pytest.raises(UserError, match="holds another run") as caught:
        other.execute()
    assert differ in str(caught.value)
    assert status(finished) == before


def test_an_edited_sequence_is_refused(tiny_data, tmp_path):
    file = tmp_path / "tiny.yaml"
    out = tmp_path / "out"
    sequence = write_sequence(file, tiny_data, tasks=[{"reward": "brightness"}])
    runner(sequence, out).execute()
    write_sequence(file, tiny_data, tasks=[{"reward": "symmetry"}])
    with pytest.raises(UserError, match="its inputs changed since: settings of the sequence") as caught:
        runner(sequence, out).execute()
    assert "--label" in caught.value.hint


def test_the_python_verbs(finished, tiny_sequence, tmp_path, without_figures):
    run = ril_bench.run(tiny_sequence, method="naive", out=finished.parents[4], quiet=True)
    assert run.path == finished
    assert run.info["status"] == "complete"
    assert list(run.matrix) == ["brightness", "symmetry"]
    assert len(run.scores) == 36
    assert run.metrics["rewards"] == ["brightness", "symmetry"]
    assert run.page.stat().st_size > 10_000  # the verb writes the page, not the runner
    page = ril_bench.report([run], out=tmp_path / "site")
    assert page == tmp_path / "site" / "index.html"
    assert page.read_text().count("naive") > 1


def test_the_whole_path_in_the_embedded_world(tmp_path):
    """A run of a shipped sequence with its weights has every metric."""
    few = ["sampler.steps=2", "sampler.guidance=1.0", "units.images=4", "evaluation.prompts=2"]
    folder = runner("shapes-smoke", tmp_path, method="rid", settings=few).execute()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["probes"] == ["clip_score", "attributes"]
    assert [entry["step"] for entry in metrics["fidelity"]["steps"]] == [0, 1, 2]
    assert all(entry["fid"] >= 0 for entry in metrics["fidelity"]["steps"])
    assert all(-1 <= entry["cosine_to_0"] <= 1 for entry in metrics["structure"]["steps"])
    assert all(metrics["continual"]["z"][name] is not None for name in ("FINAL", "LEARN", "BWT", "FORGET"))
    scores = pd.read_parquet(folder / "scores.parquet")
    assert scores["score"].notna().all()
    assert scores[~scores["trained"]]["reward"].unique().tolist() == ["clip_score", "attributes"]
