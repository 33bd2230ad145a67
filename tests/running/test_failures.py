"""Runs that fail: the class of the failure, and the results that are kept."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from ril_bench import registry
from ril_bench.errors import NumericalError, OutOfMemoryError, RewardError, UserError
from ril_bench.rewards.base import Reward
from tests.running.stopping import failed_run, log_lines, status
from tests.tiny import runner, write_sequence


class Fragile(Reward):
    """Brightness for the first calls; from call `breaks_at` on, an error or NaN."""

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
    """A function that registers a subclass of Fragile, with given attributes, as "fragile"."""
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))  # so that the calls of step 0 are counted

    def register(**attributes: Any) -> type[Fragile]:
        cls = type("Fragile", (Fragile,), attributes)
        load = registry.load
        monkeypatch.setitem(registry.EVERYWHERE, "fragile", Path(__file__))  # the owner of the code
        monkeypatch.setattr(
            registry,
            "load",
            lambda kind, name, *world: cls if name == "fragile" else load(kind, name, *world),
        )
        return cls

    return register


@pytest.fixture
def with_fragile(tiny_data, tmp_path) -> str:
    tasks = [{"reward": "brightness"}, {"reward": "fragile"}]
    return write_sequence(tmp_path / "fragile.yaml", tiny_data, tasks=tasks)


def test_nan_from_a_reward_in_training(with_fragile, tmp_path, fragile):
    cls = fragile(breaks_at=3)  # the first call measures the reward's unit
    folder, run, message = failed_run(with_fragile, tmp_path / "out", NumericalError)
    assert run["failure"]["class"] == "numerical"
    assert "task 2 (fragile), update 1" in message
    assert [step["step"] for step in run["steps"]] == [0, 1]
    assert (folder / "step-1" / "adapter.safetensors").exists()
    assert pd.read_parquet(folder / "scores.parquet")["step"].unique().tolist() == [0, 1]
    assert len(log_lines(folder)) == 3
    cls.breaks_at = 10**9  # repaired
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


@pytest.mark.parametrize("kind", ["score", "reference"])  # its unit; the evaluation of step 0
def test_nan_of_the_pretrained_models_images_is_the_rewards_fault(with_fragile, tmp_path, fragile, kind):
    fragile(breaks_at=1, kind=kind)
    _, run, message = failed_run(with_fragile, tmp_path / "out", RewardError)
    assert run["failure"]["class"] == "reward"
    assert "lower the learning rate" not in message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (OSError(errno.ENOSPC, "the disk is full"), "infrastructure"),
        (UserError("not so"), "user"),
    ],
)
def test_every_failure_has_its_class(with_fragile, tmp_path, fragile, error, kind):
    fragile(breaks_at=1, error=error)
    assert failed_run(with_fragile, tmp_path / "out", type(error))[1]["failure"]["class"] == kind


@pytest.mark.parametrize("error", [ValueError("no"), OSError("no"), SystemExit(0), GeneratorExit()], ids=repr)
def test_whatever_a_reward_raises_is_its_failure(with_fragile, tmp_path, fragile, error):
    fragile(breaks_at=1, error=error)
    _, run, message = failed_run(with_fragile, tmp_path / "out", RewardError)
    assert run["failure"]["class"] == "reward"
    assert message.startswith("the reward fragile ")
    assert f"{Path(__file__).name}:" in message
    assert "in score" in message
    assert type(error).__name__ in run["failure"]["traceback"]


def test_a_device_with_too_little_memory_for_one_sample(with_fragile, tmp_path, fragile):
    fragile(breaks_at=2, error=torch.OutOfMemoryError("CUDA out of memory"))  # after the unit is measured
    _, run, message = failed_run(with_fragile, tmp_path / "out", OutOfMemoryError)
    assert run["failure"]["class"] == "memory"
    assert "task 2 (fragile), update 0" in message
    assert "checkpointing=true" in message


def test_a_reward_without_a_gradient_is_reported_before_anything_is_trained(tiny_data, tmp_path):
    tasks = [{"reward": "brightness"}, {"reward": "jpeg_kb"}]
    sequence = write_sequence(tmp_path / "t.yaml", tiny_data, tasks=tasks)
    _, run, message = failed_run(sequence, tmp_path / "out", UserError)
    assert "needs the gradient of the reward, and jpeg_kb has none" in message
    assert "tasks.2" in message
    assert run["steps"] == []


def test_too_few_prompts_are_reported(tiny_data, tmp_path):
    evaluation = {**tiny_data["evaluation"], "prompts": 5}
    sequence = write_sequence(tmp_path / "t.yaml", tiny_data, evaluation=evaluation)
    _, _, message = failed_run(sequence, tmp_path / "out", UserError)
    assert "asks for 5 prompts; there are 4" in message
