"""Fixtures that several folders of tests share, such as a tiny random pipeline."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import pytest
from diffusers import StableDiffusionPipeline
from hypothesis import settings

from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.remote.search import FOLDER
from tests.pipelines import stable_diffusion
from tests.tiny import PROMPTS, run_in_this_process, sequence_data, write_sequence

# No deadline: how long an example takes depends on the machine. In CI the examples are the same in every run; elsewhere
# they differ, so that the tests can find new failures.
settings.register_profile("ril-bench", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("ril-bench")

# A synced file survives a loss of power, which no test can cause.
os.fsync = lambda descriptor: None


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline with random weights (tests/pipelines.py)."""
    folder = tmp_path_factory.mktemp("tiny-pipeline")
    stable_diffusion().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def loaded_pipeline(tiny_pipeline: Path) -> StableDiffusionPipeline:
    """`tiny_pipeline` in memory; tests use copies of it."""
    return StableDiffusionPipeline.from_pretrained(tiny_pipeline, safety_checker=None)


@pytest.fixture(scope="session")
def new_model(loaded_pipeline: StableDiffusionPipeline) -> Callable[[], DiffusionModel]:
    """A function that returns `tiny_pipeline` as a new DiffusionModel without an adapter.

    All models share the parts that nothing changes: autoencoder and text encoder.
    """
    spec = AdapterSpec(rank=2, alpha=3.0, targets=("to_q", "to_k", "to_v", "to_out.0"))
    shared = {id(part): part for part in (loaded_pipeline.vae, loaded_pipeline.text_encoder)}
    return lambda: DiffusionModel(copy.deepcopy(loaded_pipeline, dict(shared)), adapter=spec)


@pytest.fixture
def tiny_model(new_model: Callable[[], DiffusionModel]) -> DiffusionModel:
    """`tiny_pipeline` as a DiffusionModel without an adapter, new for each test."""
    return new_model()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache that only the tests use, and no network.

    So the files on a machine do not change the results of the tests.
    """
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RIL_BENCH_CACHE", str(folder))
        patch.setenv("TERM", "xterm")  # rich draws nothing on a dumb terminal
        patch.delenv(FOLDER, raising=False)
        for name, value in (("HF_HUB_OFFLINE", True), ("HF_HUB_CACHE", str(folder / "hub"))):
            patch.setattr(hub, name, value)
            patch.setenv(name, str(value))  # for processes that the tests start
        yield folder


@pytest.fixture(scope="session")
def tiny_data(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A sequence of two tasks on `tiny_pipeline`, as a YAML file holds it (tests/tiny.py)."""
    prompts = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS))
    return sequence_data(tiny_pipeline, prompts)


@pytest.fixture(scope="session")
def tiny_sequence(tiny_data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of the sequence `tiny_data`."""
    return write_sequence(tmp_path_factory.mktemp("sequence") / "tiny.yaml", tiny_data)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Executes the runs of a grid one after another in this process, with one thread."""
    run_in_this_process(monkeypatch)


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sites have no figures for papers, which take seconds. tests/reporting/test_site.py shows the figures."""
    monkeypatch.setattr("ril_bench.reporting.paper.figures", lambda table, runs: [])
