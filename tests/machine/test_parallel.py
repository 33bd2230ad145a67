"""Two processes (gloo, CPU) compute the same run as one, for several tuners and methods."""

from __future__ import annotations

import os
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file
from torch import nn

from ril_bench.errors import InfrastructureError, NumericalError, UserError
from ril_bench.machine.parallel import ALONE, Team, team
from tests.tiny import forkserver, runner, write_sequence

UPDATES, BATCH = 3, 3  # a batch that two processes cannot halve
#: {name: (method, settings)}: with networks of tuners, stored images, groups of copies, losses of methods, rewards of
#: the whole batch, and a threshold that all processes move
CASES = {
    "draft-ewc": ("ewc", ["tuner={name: draft, k: 2}", "method.samples=4", "method.strength=10.0"]),
    "drtune-rid": (
        "rid",
        ["tuner={name: drtune, k: 1, m: 1}", "method.strength=5.0", "budget.micro_batch=1"],
    ),
    "ddpo-l2": (
        "l2",
        ["tuner={name: ddpo, samples: 2, reuse: 2, value: true, kappa: 1.0}", "method.strength=10.0"],
    ),
    "nabla": ("naive", ["tuner={name: nabla_gflownet, beta: 10.0, trust: 1.0, units: noise, reuse: 2}"]),
    "nft-l2": ("l2", ["tuner={name: nft, samples: 2, noises: 2, reuse: 2}", "method.strength=10.0"]),
    "adjoint": ("naive", ["tuner={name: adjoint_matching, steps: 2, quantile: 0.5, units: noise}"]),
    # 40 images are two batches, one for each process
    "joint-criterion": ("joint", ["budget.until={gain: 0.05, images: 40, every: 2}", "method.k=2.0"]),
    "fewer-samples-than-processes": ("naive", ["budget.batch=1"]),
}
#: tuners that divide by the variance of a late step, which makes rounding larger (tests/tuners/test_every_tuner.py)
ROUGH = {"ddpo-l2", "nabla", "interrupted"}
#: the settings of a run that fails after two updates; another number of processes continues it
INTERRUPTED = ["tuner={name: ddpo, samples: 2, reuse: 2}"]


@pytest.fixture(scope="module")
def sequence(tiny_data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("parallel") / "tiny.yaml"
    # Adam takes a step of the learning rate for any gradient, even for a rounded zero. So the learning rate is as small
    # as in real runs.
    optimizer = {**tiny_data["optimizer"], "lr": 1e-3}
    budget = {"updates": UPDATES, "batch": BATCH}
    return write_sequence(file, tiny_data, budget=budget, optimizer=optimizer)


def completed(sequence: str, out: Path, name: str) -> Path:
    method, settings = CASES[name]
    return runner(sequence, out, method, settings=settings, label=name).execute()


def interrupted(sequence: str, out: Path) -> Path:
    """The run; if the file `interrupt` exists, an error ends it after two updates.

    The checkpoint after update 1 has stored images that update 2 uses again.
    """
    run = runner(sequence, out, "naive", settings=INTERRUPTED, label="interrupted", checkpoint_every=1)
    if (out / "interrupt").exists():
        after_update, done = run.method.after_update, []

        def failing() -> None:
            done.append(after_update())
            if len(done) == 2:
                raise NumericalError("on purpose")

        run.method.after_update = failing  # type: ignore[method-assign]
        with pytest.raises(NumericalError):
            run.execute()
        return run.folder.path
    return run.execute()


def member(rank: int, size: int, port: int, sequence: str, out: Path, cache: str) -> None:
    """One of the processes, started as a launcher starts it."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RIL_BENCH_CACHE=cache,
    )  # fmt: skip
    torch.set_num_threads(1)
    assert team() == Team(rank, size)
    check_operations(rank)
    for name in CASES:
        completed(sequence, out, name)
    interrupted(sequence, out)
    torch.distributed.destroy_process_group()


def check_operations(rank: int) -> None:
    """Gather, sum, broadcast and count in two processes; an error of one is raised by both."""
    both = team()
    assert both.gathered(lambda: [rank, "a"]) == [[0, "a"], [1, "a"]]
    assert both.from_main(lambda: rank) == 0
    assert both.on_main(lambda: 5) == (None if rank else 5)
    first, nowhere, second = (nn.Parameter(torch.full((n,), float(rank))) for n in (3, 2, 1))
    first.grad = torch.full((3,), rank + 1.0)
    second.grad = torch.ones(1) if rank else None
    both.add_gradients([first, nowhere, second])
    assert first.grad.tolist() == [3.0, 3.0, 3.0]
    assert nowhere.grad is None
    assert second.grad is not None
    assert second.grad.tolist() == [1.0]
    both.share_weights([first])
    assert first.tolist() == [0.0, 0.0, 0.0]
    counter = Counter(calls=1)
    with both.main_first():
        pass
    with both.counted(counter):
        counter["calls"] += rank + 1
    assert counter["calls"] == 1 + 1 + 2
    with pytest.raises(UserError, match="only in one"):
        both.gathered(lambda: refuse() if rank == 1 else None)
    with pytest.raises(ZeroDivisionError if rank else InfrastructureError, match="by zero"):
        both.gathered(lambda: 1 // 0 if rank == 1 else None)


def refuse() -> None:
    raise UserError("only in one")


@pytest.fixture(scope="module")
def runs(sequence: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of all runs, of one process and of two."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    with pytest.MonkeyPatch.context() as patch:  # step 0 is counted by the run that computes it
        patch.setenv("RIL_BENCH_CACHE", str(tmp_path_factory.mktemp("cache-of-one")))
        for name in CASES:
            completed(sequence, alone, name)
        interrupted(sequence, alone)
    (together / "interrupt").touch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cache = str(tmp_path_factory.mktemp("cache-of-two"))
    forkserver()
    mp.start_processes(member, (2, port, sequence, together, cache), nprocs=2, start_method="forkserver")
    (together / "interrupt").unlink()
    interrupted(sequence, together)
    return alone, together


def flat(file: Path) -> torch.Tensor:
    return torch.cat([factor.flatten() for factor in load_file(file).values()])


def folder(runs: tuple[Path, Path], name: str) -> tuple[Path, Path]:
    found = [next(out.glob(f"tiny/given/*@{name}/*/seed-0")) for out in runs]
    return found[0], found[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CASES, "interrupted"])
def test_two_processes_compute_the_run_of_one(runs, name):
    one, two = folder(runs, name)
    for step in (1, 2):
        adapter, other = (flat(path / f"step-{step}" / "adapter.safetensors") for path in (one, two))
        if name in ROUGH:
            assert (adapter - other).norm() < 1e-3 * adapter.norm()
        else:
            torch.testing.assert_close(other, adapter, rtol=0, atol=3e-5)  # a step of Adam is 1e-3
    scores = [pd.read_parquet(path / "scores.parquet") for path in (one, two)]
    pd.testing.assert_frame_equal(*scores, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_call_is_counted_once(runs, name):
    """In samples: the number of samples in a call depends on the micro-batch."""
    (one, two) = ([count(step) for step in steps(path)] for path in folder(runs, name))
    assert one == two


def steps(path: Path) -> list[dict[str, Any]]:
    return pd.read_json(path / "run.json", typ="series")["steps"]


def count(step: dict[str, Any]) -> dict[str, int]:
    return {key: step[key] for key in ("denoiser_forwards", "denoiser_backwards", "reward_calls")}


@pytest.mark.slow
def test_the_log_is_that_of_the_whole_batch(runs):
    one, two = (pd.read_json(path / "log.jsonl", lines=True) for path in folder(runs, "drtune-rid"))
    assert len(one) == len(two) == 2 * UPDATES
    for column in ("score", "loss", "penalty", "grad_norm"):
        assert two[column].tolist() == pytest.approx(one[column].tolist(), rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_the_gains_are_those_of_one_process(runs):
    one, two = (steps(path)[1:] for path in folder(runs, "joint-criterion"))
    assert [step["updates"] for step in one] == [step["updates"] for step in two]
    for step, other in zip(one, two, strict=True):
        assert other["gain"] == pytest.approx(step["gain"], abs=1e-3)


@pytest.mark.slow
def test_the_number_of_processes_is_recorded(runs):
    hardware = [pd.read_json(path / "run.json", typ="series")["hardware"] for path in folder(runs, "nabla")]
    assert [machine["processes"] for machine in hardware] == [1, 2]


def test_a_single_process_is_a_team_of_one():
    assert team() is ALONE
    assert ALONE.main
    assert ALONE.owned(range(3)) == [0, 1, 2]
    assert ALONE.gathered(lambda: 7) == [7]
    assert ALONE.on_main(lambda: 7) == ALONE.from_main(lambda: 7) == 7


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_sample_is_owned_once(size):
    owned = [sample for rank in range(size) for sample in Team(rank, size).owned(range(5))]
    assert sorted(owned) == list(range(5))
