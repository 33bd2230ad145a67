"""Values of a scheduler's config give a sampler whose every number is finite, or an error that names them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st

from ril_bench.diffusion.configs import check_folder
from ril_bench.diffusion.ddim import SCHEDULE, ddim_of
from ril_bench.diffusion.flow import flow_of
from ril_bench.diffusion.steps import Sampler
from ril_bench.errors import UserError
from tests.pipelines import stable_diffusion_3

FILE = "scheduler/scheduler_config.json"


def check(build: Callable[[], Sampler]) -> None:
    """Shows that all numbers of a sampler are finite, or that its error names the place."""
    try:
        sampler = build()
    except UserError as error:
        where = str(error.where)
    else:
        numbers = [
            *sampler.timesteps,
            *sampler.signal,
            *sampler.level,
            *sampler.a,
            *sampler.b,
            *sampler.sigma,
        ]
        assert all(map(math.isfinite, numbers))
        assert all(before > after for before, after in pairwise(sampler.level[:-1]))
        return
    assert where == "sampler.steps" or FILE in where


BETAS: dict[str, dict[str, Any]] = {
    "underflow": {"beta_start": 0.9, "beta_end": 0.99},
    "all high": {"trained_betas": [0.9] * 1000},
    "underflow of float32": {"beta_start": 0.1, "beta_end": 0.1},
    "too small": {"trained_betas": [1e-30] * 1000},
    "none": {"trained_betas": []},
    "few": {"trained_betas": [0.01] * 10},
    "many": {"trained_betas": [0.01] * 1001},
    "nested": {"trained_betas": [[0.01]] * 1000},
    "2 timesteps": {"num_train_timesteps": 2, "trained_betas": [0.01, 0.02]},
    "a schedule that is no text": {"beta_schedule": ["linear"]},
}


@pytest.mark.parametrize("case", BETAS)
@pytest.mark.parametrize("of_folder", [True, False])
def test_betas_that_give_no_sampler(tiny_pipeline: Path, tmp_path: Path, case: str, of_folder: bool) -> None:
    folder = Path(shutil.copytree(tiny_pipeline, tmp_path / "model"))
    config = json.loads((folder / FILE).read_text()) | BETAS[case]
    (folder / FILE).write_text(json.dumps(config))
    with pytest.raises(UserError) as caught:
        check_folder(folder) if of_folder else ddim_of(config, 2, 1.0)
    assert FILE in str(caught.value.where)
    assert any(key.split("_")[0] in str(caught.value) for key in BETAS[case])


BETA = st.floats(0, 1) | st.floats(1e-12, 1e-3) | st.sampled_from([0.00085, 0.012, 0.02, 1 - 1e-16])


@given(
    betas=st.lists(BETA, min_size=3, max_size=40),
    steps=st.integers(2, 40),
    eta=st.sampled_from([0.0, 0.5, 1.0]),
    predicts=st.sampled_from(["epsilon", "v_prediction"]),
)
def test_any_betas_give_a_finite_sampler_or_an_error(
    betas: list[float], steps: int, eta: float, predicts: str
) -> None:
    kind = {"trained_betas": betas, "num_train_timesteps": len(betas), "prediction_type": predicts}
    check(lambda: ddim_of({**SCHEDULE, **kind}, steps, eta))


FLOWS: dict[str, dict[str, Any]] = {
    "tiny shift": {"shift": 1e-9},
    "huge shift": {"shift": 1e12},
    "no shift": {"shift": None},
    "terminal 5": {"shift_terminal": 5.0},
    "terminal 1": {"shift_terminal": 1.0},
    "terminal -1": {"shift_terminal": -1.0},
    "equal lengths": {"use_dynamic_shifting": True, "base_image_seq_len": 16, "max_image_seq_len": 16},
    "no base": {"use_dynamic_shifting": True, "base_shift": None},
    "huge mu": {"use_dynamic_shifting": True, "base_shift": 1e6, "max_shift": 1e300},
    "2 timesteps": {"num_train_timesteps": 2},
    "two tables": {"use_karras_sigmas": True, "use_exponential_sigmas": True},
}


@pytest.fixture(scope="module")
def flow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow")
    stable_diffusion_3().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("case", FLOWS)
def test_shifts_that_give_no_sampler(flow_model: Path, tmp_path: Path, case: str) -> None:
    """Some are found in the folder, the others by the number of steps, which a folder does not have."""
    folder = Path(shutil.copytree(flow_model, tmp_path / "model"))
    config = json.loads((folder / FILE).read_text()) | FLOWS[case]
    (folder / FILE).write_text(json.dumps(config))

    def folder_and_sampler() -> None:
        check_folder(folder)
        flow_of(config, 20, 1.0, tokens=16)

    with pytest.raises(UserError) as caught:
        folder_and_sampler()
    assert FILE in str(caught.value.where)
    assert (
        "scheduler_config.json" in str(caught.value.hint)
        or caught.value.hint == "get the model again, as diffusers saved it"
    )


SHIFT = st.floats(1e-12, 1e12) | st.floats(0.1, 10)


@given(
    config=st.fixed_dictionaries(
        {},
        optional={
            "shift": SHIFT,
            "shift_terminal": st.none() | st.floats(0.001, 0.999),
            "use_dynamic_shifting": st.booleans(),
            "base_shift": SHIFT,
            "max_shift": SHIFT,
            "base_image_seq_len": st.integers(1, 64),
            "max_image_seq_len": st.integers(1, 64),
            "num_train_timesteps": st.integers(3, 1000),
        },
    ),
    steps=st.integers(2, 50),
    eta=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_any_shifts_give_a_finite_sampler_or_an_error(config: dict[str, Any], steps: int, eta: float) -> None:
    whole = {**FlowMatchEulerDiscreteScheduler().config, **config}
    check(lambda: flow_of(whole, steps, eta, tokens=16))


@pytest.mark.parametrize("steps", [0, 1000])
def test_the_hint_is_a_number_of_steps_that_a_sequence_may_have(steps: int) -> None:
    for sampler_of in (lambda: ddim_of(SCHEDULE, steps, 0.0), lambda: flow_of({}, steps, 0.0, tokens=16)):
        with pytest.raises(UserError) as caught:
            sampler_of()
        assert caught.value.hint == "choose 2 to 999"
