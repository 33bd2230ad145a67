"""Runs that end as they should, and runs that are stopped, killed, damaged or wrong, and what becomes of them."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import ril_bench
from ril_bench import registry
from ril_bench.errors import NumericalError, OutOfMemoryError, UserError
from ril_bench.rewards.base import Reward
from ril_bench.running import provenance
from ril_bench.running.progress import Reporter
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.storage import files as storage_files
from ril_bench.storage.digests import sha256_file
from ril_bench.storage.files import to_json
from ril_bench.storage.run_folder import RunFolder
from tests.tiny import UPDATES, results, runner, write_sequence

LONG = [f"budget.updates={UPDATES}"]
RID = {"method": "rid", "settings": [*LONG, "method.strength=10", "method.decay=0.5", "method.teacher=keep"]}


@pytest.fixture(scope="module")
def finished(tiny_sequence, tmp_path_factory) -> Path:
    """The folder of a complete run with nothing left out."""
    return runner(tiny_sequence, tmp_path_factory.mktemp("finished")).execute()


@pytest.fixture(scope="module")
def straight(tiny_sequence, tmp_path_factory) -> dict[str, bytes]:
    """What a long RID run gives that nothing interrupts."""
    return results(runner(tiny_sequence, tmp_path_factory.mktemp("straight"), **RID).execute())


class Stopping(Reporter):
    """Presses Ctrl-C, or worse, after so many units of work."""

    def __init__(self, after: int, error: BaseException | None = None):
        super().__init__(quiet=True)
        self.left, self.error = after, error or KeyboardInterrupt()

    def advance(self, units: int = 1, note: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error


def status(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def log_lines(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


# -- a run ---------------------------------------------------------------------------------------------------


def test_what_a_run_leaves(finished):
    names = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    images = {f"{prompt}-{number}.png" for prompt in ("000", "001", "002") for number in (0, 1)}
    expected = {
        ".lock",
        "run.json",
        "scores.parquet",
        "matrix.csv",
        "metrics.json",
        "log.jsonl",
    }
    expected |= {"prompts.json", *(f"step-0/fid-reference/{image}" for image in images)}
    expected |= {f"step-{i}/images/{image}" for i in range(3) for image in images}
    expected |= {f"step-{i}/scores.parquet" for i in range(3)}
    expected |= {f"step-{i}/adapter.safetensors" for i in (1, 2)}
    assert names == expected


def test_run_json_says_what_was_run_and_on_what(finished, tiny_sequence, tiny_pipeline):
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
    assert run["started"] <= run["finished"]
    assert run["calibration"] is None
    assert torch.__version__.startswith(run["versions"]["torch"])
    assert run["hardware"]["threads"] == 1
    unet = f"{tiny_pipeline.name}/unet/diffusion_pytorch_model.safetensors"
    assert run["weights"][unet] == sha256_file(tiny_pipeline / "unet/diffusion_pytorch_model.safetensors")


def test_run_json_counts_what_was_done(finished):
    run = status(finished)
    steps = run["steps"]
    assert [(step["step"], step["reward"]) for step in steps] == [
        (0, None),
        (1, "brightness"),
        (2, "symmetry"),
    ]
    for step in steps[1:]:
        # 2 updates of 2 guided images at 3 steps; 6 guided images at 3 steps
        assert step["denoiser_forwards"] == 2 * 2 * 2 * 3 + 6 * 2 * 3
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


def test_the_tables_agree_with_each_other(finished):
    scores = pd.read_parquet(finished / "scores.parquet")
    assert list(scores) == ["step", "reward", "prompt_id", "sample", "score", "trained"]
    assert len(scores) == 3 * 2 * 6
    matrix = pd.read_csv(finished / "matrix.csv", index_col="step", float_precision="round_trip")
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
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))  # step 0 too
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
        ({"settings": ["budget.updates=3"], "label": None}, "sequence_sha256"),
        ({"method": "rid"}, "method"),
        ({"seed": 4}, "seed"),
    ],
)
def test_a_folder_of_another_run_is_refused(finished, tiny_sequence, changes, differ, monkeypatch):
    before = status(finished)
    other = runner(tiny_sequence, finished.parents[4], **changes)
    other.folder = RunFolder(finished)  # as a label, a copied folder or an edited sequence may lead there
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
    with pytest.raises(UserError, match="sequence_sha256 differ") as caught:
        runner(sequence, out).execute()
    assert "--label" in caught.value.hint


def test_the_python_verbs(finished, tiny_sequence, tmp_path):
    run = ril_bench.run(tiny_sequence, method="naive", out=finished.parents[4], quiet=True)
    assert run.path == finished
    assert run.info["status"] == "complete"
    assert list(run.matrix) == ["brightness", "symmetry"]
    assert len(run.scores) == 36
    assert run.metrics["rewards"] == ["brightness", "symmetry"]
    assert run.page.stat().st_size > 10_000  # the runner has written none: the verb has
    page = ril_bench.report([run], tmp_path / "site")
    assert page == tmp_path / "site" / "index.html"
    assert page.read_text().count("naive") > 1


# -- stopped and started again -------------------------------------------------------------------------------


def go_on_until_done(
    make: Callable[[], Any], interrupted: type[BaseException], limit: int = 200
) -> tuple[Path, int]:
    """Runs until nothing interrupts any more; the folder, and how often something did."""
    for times in range(limit):
        try:
            return make().execute(), times
        except interrupted:
            continue
    raise AssertionError("never done")


@pytest.mark.parametrize(
    "units",
    [
        [1, UPDATES, 3, 11],  # in updates 1 and 12, the evaluation, and just before task 2's first checkpoint
        [UPDATES + 1, 1, UPDATES],  # twice in the evaluation, and after that checkpoint
    ],
)
def test_ctrl_c_and_the_same_command_again(tiny_sequence, tmp_path, straight, units):
    reporters = [*map(Stopping, units), Reporter(quiet=True)]
    folder, times = go_on_until_done(
        lambda: runner(tiny_sequence, tmp_path, reporter=reporters.pop(0), **RID), KeyboardInterrupt
    )
    assert times == len(units)
    assert results(folder) == straight
    assert [(line["task"], line["update"]) for line in log_lines(folder)] == [
        (task, update) for task in (1, 2) for update in range(UPDATES)
    ]
    assert not (folder / "checkpoint").exists()


def test_an_interrupted_run_says_that_it_runs_still(tiny_sequence, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        runner(tiny_sequence, tmp_path, reporter=Stopping(4)).execute()
    (run_json,) = tmp_path.rglob("run.json")
    assert (status(run_json.parent)["status"], status(run_json.parent)["failure"]) == ("running", None)


class Killed(BaseException):
    """What no code catches."""


@pytest.mark.parametrize("whole", [True, False], ids=["after a write", "before a write"])
def test_killed_around_any_write(tiny_sequence, tmp_path, straight, monkeypatch, whole):
    replace, left = storage_files._replace, [0]

    def dying(path: Path, data: bytes) -> None:
        left[0] -= 1
        if left[0] == 0 and not whole:
            (path.parent / f".{path.name}.1.tmp").write_bytes(data[: len(data) // 2])
            raise Killed
        replace(path, data)
        if left[0] == 0:
            raise Killed

    monkeypatch.setattr(storage_files, "_replace", dying)
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))
    rng = random.Random(whole)

    def incarnation() -> Any:
        left[0] = rng.randrange(3, 26)  # a step needs about 20
        return runner(tiny_sequence, tmp_path, **RID)

    folder, times = go_on_until_done(incarnation, Killed)
    assert times >= 4
    assert results(folder) == straight
    assert not list(folder.rglob("*.tmp"))


def test_killed_by_sigkill_at_random_moments(tiny_sequence, tmp_path, straight, monkeypatch):
    """Real processes, killed as a machine's owner would, end with the same bytes as one that never was."""
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["ril_bench.running.runner", "ril_bench.rewards.pixels", "datasets", "peft"]
    )
    options = {**RID, "out": tmp_path, "quiet": True, "threads": 1}
    rng, kills = random.Random(0), 0
    folder = runner(tiny_sequence, tmp_path, **RID).folder.path

    def progress() -> tuple[int, int]:
        log = folder / "log.jsonl"
        return (len(log.read_bytes()) if log.exists() else 0, len(list(folder.glob("step-*/*/*.png"))))

    for _ in range(40):
        process = context.Process(target=ril_bench.run, args=(tiny_sequence,), kwargs=options)
        process.start()
        if kills < 5:
            before, wanted = (
                progress(),
                rng.randint(1, 4),
            )  # moves, whatever they are, so that a slow machine gets on
            while process.is_alive() and wanted:
                now = progress()
                wanted -= now != before
                before = now
                time.sleep(0.02 * rng.random())
            process.kill()
        process.join()
        kills += process.exitcode == -9
        if process.exitcode == 0:
            break
        assert process.exitcode == -9
    assert status(folder)["status"] == "complete"
    assert kills >= 3
    assert results(folder) == straight


# -- damaged -------------------------------------------------------------------------------------------------


def stopped(tiny_sequence: str, out: Path, after: int) -> Path:
    """The folder of a run that was interrupted after some units of work."""
    made = runner(tiny_sequence, out, reporter=Stopping(after), **RID)
    with pytest.raises(KeyboardInterrupt):
        made.execute()
    return made.folder.path


def test_a_damaged_checkpoint_is_named_and_the_mend_mends(tiny_sequence, tmp_path, straight):
    folder = stopped(tiny_sequence, tmp_path, UPDATES + 1 + 11)  # in task 2, after its first checkpoint
    latest = folder / "checkpoint" / "latest.pt"
    latest.write_bytes(latest.read_bytes()[:-100])
    with pytest.raises(UserError, match="the checkpoint cannot be used") as caught:
        runner(tiny_sequence, tmp_path, **RID).execute()
    assert caught.value.where == str(latest)
    assert caught.value.hint.startswith("delete this file")
    failure = status(folder)
    assert (failure["status"], failure["failure"]["class"]) == ("failed", "user")
    latest.unlink()
    assert results(runner(tiny_sequence, tmp_path, **RID).execute()) == straight


def test_a_checkpoint_that_is_lost_between_two_tasks(tiny_sequence, tmp_path, straight, monkeypatch):
    """Step 1 is done and task 2 not begun: what is left is the start of task 1, whose adapters are untrained."""

    def killed(self: Any, i: int) -> None:
        if i == 2:
            raise Killed
        return started(self, i)

    started = ril_bench.running.runner.Runner._start_task
    monkeypatch.setattr(ril_bench.running.runner.Runner, "_start_task", killed)
    with pytest.raises(Killed):
        runner(tiny_sequence, tmp_path, **RID).execute()
    monkeypatch.undo()
    folder = runner(tiny_sequence, tmp_path, **RID).folder.path
    assert len(status(folder)["steps"]) == 2
    (folder / "checkpoint" / "latest.pt").unlink()
    assert results(runner(tiny_sequence, tmp_path, **RID).execute()) == straight
    assert [step["step"] for step in status(folder)["steps"]] == [0, 1, 2]


def test_without_any_checkpoint_a_later_task_cannot_go_on(tiny_sequence, tmp_path):
    folder = stopped(tiny_sequence, tmp_path, UPDATES + 1 + 5)
    for file in (folder / "checkpoint").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="the checkpoint to go on from is gone") as caught:
        runner(tiny_sequence, tmp_path, **RID).execute()
    assert "delete the run's folder" in caught.value.hint


def test_counts_include_what_a_killed_process_did(finished, tiny_sequence, tmp_path):
    reporters = [Stopping(2), Stopping(3), Stopping(2), Reporter(quiet=True)]
    folder, times = go_on_until_done(
        lambda: runner(tiny_sequence, tmp_path, reporter=reporters.pop(0)), KeyboardInterrupt
    )
    assert times == 3
    keys = ("denoiser_forwards", "denoiser_backwards", "reward_calls", "carried_bytes", "stored_bytes")
    mine, whole = (
        [[step[key] for key in keys] for step in status(one)["steps"][1:]] for one in (folder, finished)
    )
    assert mine == whole
    assert status(folder)["cost"] is None  # its wall time is not one process's


# -- wrong ---------------------------------------------------------------------------------------------------


class Fragile(Reward):
    """Brightness, until there have been so many calls."""

    name = "brightness"
    unit = "grey levels"
    calls = 0
    breaks_at = 10**9
    kind = "score"
    error: Exception | None = None

    def score(self, images: torch.Tensor, prompts: Any) -> torch.Tensor:
        return self._value("score", images)

    def reference_score(self, images: torch.Tensor, prompts: Any) -> torch.Tensor:
        return self._value("reference", images)

    def _value(self, kind: str, images: torch.Tensor) -> torch.Tensor:
        cls = type(self)
        cls.calls += kind == cls.kind
        if cls.calls >= cls.breaks_at:
            if cls.error:
                raise cls.error
            return images.mean((1, 2, 3)) * torch.nan
        return images.mean((1, 2, 3))


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., type[Fragile]]:
    """Makes a Fragile of its own kind what the name "fragile" means."""
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))  # step 0's calls are to be counted

    def make(**how: Any) -> type[Fragile]:
        made = type("Fragile", (Fragile,), how)
        load = registry.load
        monkeypatch.setitem(registry._REWARDS, "fragile", "nowhere:Fragile")
        monkeypatch.setattr(
            registry,
            "load",
            lambda kind, name, *world: made if name == "fragile" else load(kind, name, *world),
        )
        return made

    return make


@pytest.fixture
def with_fragile(tiny_data, tmp_path) -> str:
    tasks = [{"reward": "brightness"}, {"reward": "fragile"}]
    return write_sequence(tmp_path / "fragile.yaml", tiny_data, tasks=tasks)


def failed_run(sequence: str, out: Path, error: type[Exception]) -> tuple[Path, dict[str, Any], str]:
    made = runner(sequence, out)
    with pytest.raises(error) as caught:
        made.execute()
    run = status(made.folder.path)
    assert run["status"] == "failed"
    assert run["failure"]["message"] == (str(caught.value) or repr(caught.value))
    return made.folder.path, run, str(caught.value)


def test_nan_from_a_reward_in_training(with_fragile, tmp_path, fragile):
    made = fragile(breaks_at=2)
    folder, run, message = failed_run(with_fragile, tmp_path / "out", NumericalError)
    assert run["failure"]["class"] == "numerical"
    assert "task 2 (fragile), update 1" in message
    assert [step["step"] for step in run["steps"]] == [0, 1]
    assert (folder / "step-1" / "adapter.safetensors").exists()
    assert pd.read_parquet(folder / "scores.parquet")["step"].unique().tolist() == [0, 1]
    assert len(log_lines(folder)) == 3
    made.breaks_at = 10**9  # mended
    runner(with_fragile, tmp_path / "out").execute()
    assert status(folder)["status"] == "complete"
    assert status(folder)["failure"] is None


def test_nan_from_a_reward_at_the_evaluation(with_fragile, tmp_path, fragile):
    fragile(breaks_at=2, kind="reference")
    folder, run, message = failed_run(with_fragile, tmp_path / "out", NumericalError)
    assert run["failure"]["class"] == "numerical"
    assert "step 1, prompt 000, sample 0" in message
    assert [step["step"] for step in run["steps"]] == [0]
    assert pd.read_parquet(folder / "scores.parquet")["step"].unique().tolist() == [0]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (OSError("the disk is gone"), "infrastructure"),
        (UserError("not so"), "user"),
    ],
)
def test_every_failure_has_its_class(with_fragile, tmp_path, fragile, error, kind):
    fragile(breaks_at=1, error=error)
    assert failed_run(with_fragile, tmp_path / "out", type(error))[1]["failure"]["class"] == kind


def test_one_sample_too_many_for_the_device(with_fragile, tmp_path, fragile):
    fragile(breaks_at=1, error=torch.OutOfMemoryError("CUDA out of memory"))
    _, run, message = failed_run(with_fragile, tmp_path / "out", OutOfMemoryError)
    assert run["failure"]["class"] == "memory"
    assert "task 2 (fragile), update 0" in message
    assert "checkpointing=true" in message


def test_a_reward_without_a_gradient_is_told_before_anything_is_trained(tiny_data, tmp_path):
    tasks = [{"reward": "brightness"}, {"reward": "jpeg_kb"}]
    sequence = write_sequence(tmp_path / "t.yaml", tiny_data, tasks=tasks)
    _, run, message = failed_run(sequence, tmp_path / "out", UserError)
    assert "needs the gradient of the reward, and jpeg_kb has none" in message
    assert "tasks.2" in message
    assert run["steps"] == []


def test_too_few_prompts_are_told(tiny_data, tmp_path):
    evaluation = {**tiny_data["evaluation"], "prompts": 5}
    sequence = write_sequence(tmp_path / "t.yaml", tiny_data, evaluation=evaluation)
    _, _, message = failed_run(sequence, tmp_path / "out", UserError)
    assert "asks for 5 prompts; there are 4" in message


# -- the calibration -----------------------------------------------------------------------------------------


def calibrated(folder: Path, data: dict[str, Any], finished: Path, off: float) -> str:
    """The sequence in a folder of its own, with row 0 off its calibration by so many deviations."""
    folder.mkdir()
    scores = pd.read_parquet(finished / "scores.parquet").query("step == 0")
    rewards = {}
    for name, rows in scores.groupby("reward"):
        sigma = float(rows.groupby("prompt_id")["score"].mean().std())
        b = float(rows["score"].mean()) + (off * sigma if name == "symmetry" else 0)
        rewards[name] = {
            "direction": 1,
            "unit": "grey levels",
            "b": b,
            "u": b + sigma,
            "sigma": sigma,
            "se": 0.0,
        }
        rewards[name]["seeds"] = [b + sigma] * 3
    content = {
        "sequence": "tiny",
        "version": 1,
        "made_with": {"cpu": provenance.processor()},
        "rewards": rewards,
    }
    (folder / "tiny.calibration.json").write_text(to_json(content))
    return write_sequence(folder / "tiny.yaml", data)


def test_a_row_0_off_the_calibration_fails(finished, tiny_data, tmp_path):
    sequence = calibrated(tmp_path / "off", tiny_data, finished, off=0.06)
    _, run, message = failed_run(sequence, tmp_path / "out", UserError)
    assert "row 0 is off the sequence's calibration by more than 0.05 sigma: symmetry" in message
    assert "brightness" not in message
    assert "ril-bench calibrate" in message
    assert run["failure"]["class"] == "user"


def test_a_row_0_within_tolerance_passes_and_the_calibration_is_kept(finished, tiny_data, tmp_path):
    sequence = calibrated(tmp_path / "near", tiny_data, finished, off=0.04)
    folder = runner(sequence, tmp_path / "out").execute()
    metrics = json.loads((folder / "metrics.json").read_text())
    file = tmp_path / "near" / "tiny.calibration.json"
    assert metrics["calibration"] == {"file": file.name, "sha256": sha256_file(file)}
    assert metrics["continual"]["normalised"]["N"][0][0] == pytest.approx(0, abs=1e-6)
    assert metrics["continual"]["normalised"]["N"][0][1] == pytest.approx(-0.04, abs=1e-4)
    # with another step 0 it does not hold, and is not asked
    changed = runner(sequence, tmp_path / "out", settings=["sampler.steps=4"])
    assert changed.calibration is None


def test_another_machine_may_differ_a_little_more(finished, tiny_data, tmp_path, monkeypatch):
    sequence = calibrated(tmp_path / "off", tiny_data, finished, off=0.1)
    monkeypatch.setattr(provenance, "processor", lambda: "another CPU")
    assert runner(sequence, tmp_path / "out", settings=["budget.updates=1"]).execute()


# -- the embedded world --------------------------------------------------------------------------------------


def test_the_whole_path_in_the_embedded_world(tmp_path):
    """What ships, weights and all: every figure is there."""
    folder = runner("shapes-smoke", tmp_path, method="rid").execute()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert status(folder)["official"]
    assert metrics["probes"] == ["clip_score", "attributes"]
    assert [entry["step"] for entry in metrics["fidelity"]["steps"]] == [0, 1, 2]
    assert all(entry["fid"] >= 0 for entry in metrics["fidelity"]["steps"])
    assert all(-1 <= entry["cosine_to_0"] <= 1 for entry in metrics["structure"]["steps"])
    assert all(metrics["continual"]["z"][name] is not None for name in ("FINAL", "LEARN", "BWT", "FORGET"))
    scores = pd.read_parquet(folder / "scores.parquet")
    assert scores["score"].notna().all()
    assert scores[~scores["trained"]]["reward"].unique().tolist() == ["clip_score", "attributes"]
