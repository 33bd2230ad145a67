"""A run is the same whatever its caller has done to torch, and whatever other threads do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ril_bench
from ril_bench.errors import UserError
from ril_bench.machine.global_state import GlobalState
from tests.tiny import results


def run(sequence: str, out: Path, **options: Any) -> ril_bench.Run:
    return ril_bench.run(
        sequence, method="naive", out=out, quiet=True, settings={"budget.updates": 1}, **options
    )


@pytest.fixture(scope="module")
def plain(tiny_sequence: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run whose caller changed nothing."""
    return results(run(tiny_sequence, tmp_path_factory.mktemp("plain")).path)


@contextmanager
def changed(change: Callable[[Any], Any], value: Any, usual: Any) -> Iterator[None]:
    change(value)
    try:
        yield
    finally:
        change(usual)


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "nothing": nullcontext,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference mode": torch.inference_mode,
    "float64": lambda: changed(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: changed(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "meta": lambda: changed(torch.set_default_device, "meta", None),
    "a device": lambda: torch.device("meta"),
    "matmul": lambda: changed(torch.set_float32_matmul_precision, "medium", "highest"),
    "no mkldnn": lambda: torch.backends.mkldnn.flags(enabled=False),
    "threads": lambda: changed(torch.set_num_threads, 2, 1),
    "seed": lambda: changed(torch.manual_seed, 5, 0),
}


QUICK = ("autocast", "inference mode", "a device")


@pytest.mark.parametrize(
    "state", [*QUICK, *(pytest.param(one, marks=pytest.mark.slow) for one in STATES if one not in QUICK)]
)
def test_the_state_of_the_caller_changes_no_result_and_comes_back(
    tiny_sequence: str, plain: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))  # step 0 is computed in this state, too
    with STATES[state]():
        before = GlobalState()
        done = run(tiny_sequence, tmp_path)
        assert before.changes() == []
    assert results(done.path) == plain


def test_a_mode_that_sees_every_function_is_refused(tiny_sequence: str, tmp_path: Path) -> None:
    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return function(*args, **(kwargs or {}))

    with Mode(), pytest.raises(UserError, match="a mode of torch is open"):
        run(tiny_sequence, tmp_path)


def test_threads_take_turns(tiny_sequence: str, plain: dict[str, bytes], tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda k: run(tiny_sequence, tmp_path / f"{k}"), range(4)))
    assert all(results(one.path) == plain for one in done)


@pytest.mark.parametrize("seed", [0.0, 0.5, True, None, "0", [0], float("nan"), -1, np.float32(0)])
def test_what_is_no_seed_is_refused(tiny_sequence: str, tmp_path: Path, seed: Any) -> None:
    with pytest.raises(UserError, match="no whole number"):
        run(tiny_sequence, tmp_path, seed=seed)
    assert list(tmp_path.iterdir()) == []


def test_an_integer_of_numpy_is_a_seed(tiny_sequence: str, plain: dict[str, bytes], tmp_path: Path) -> None:
    done = run(tiny_sequence, tmp_path, seed=np.int64(0))
    assert done.path.name == "seed-0"
    assert results(done.path) == plain


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 100_000])
def test_what_is_no_number_of_threads_is_refused(tiny_sequence: str, tmp_path: Path, threads: Any) -> None:
    for verb in (
        run,
        lambda *given, **options: ril_bench.grid(sequences=[given[0]], methods=["naive"], **options),
    ):
        with pytest.raises(UserError, match="no whole number"):
            verb(tiny_sequence, out=tmp_path, threads=threads)


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True])
def test_what_is_no_number_of_jobs_is_refused(tiny_sequence: str, tmp_path: Path, jobs: Any) -> None:
    with pytest.raises(UserError, match="no whole number"):
        ril_bench.grid(sequences=[tiny_sequence], methods=["naive"], out=tmp_path, jobs=jobs)


@pytest.mark.parametrize("options", [{"shard": ""}, {"tuners": [""]}, {"orders": [""]}])
def test_an_empty_option_is_not_as_if_it_were_left_out(
    tiny_sequence: str, tmp_path: Path, options: Any
) -> None:
    """Such as that of an environment variable that is not set."""
    with pytest.raises(UserError):
        ril_bench.preview_grid(sequences=[tiny_sequence], methods=["naive"], out=tmp_path, **options)


@pytest.mark.parametrize("options", [{"tuner": ""}, {"preset": ""}, {"order": ""}, {"label": ""}])
def test_nor_is_an_empty_option_of_a_run(tiny_sequence: str, tmp_path: Path, options: Any) -> None:
    with pytest.raises(UserError):
        run(tiny_sequence, tmp_path, **options)
