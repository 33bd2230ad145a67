"""Kills runs at random moments, and compares what the same command then completes.

`python -m tests.running.kills 100` kills runs of shapes-smoke; it prints a line for each case, and a summary. A kill
is SIGKILL to the process of the run, after a random number of steps forward: lines of the log and files on the disk.
Some cases have two processes that share each batch (gloo), some are the two runs of a grid, and in some a task ends at
a criterion.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ril_bench
from ril_bench import registry
from ril_bench.storage import names
from tests.tiny import forkserver, results

SETTINGS = {"budget.updates": 12}  # with a checkpoint after 10
UNTIL = {
    "budget.until": {"gain": 0.03, "images": 4, "every": 3}
}  # some tasks meet it, some spend their updates
METHODS, TUNERS = registry.names("method"), registry.names("tuner")
REWARD = {"reward", "reward_gradient"}  # a tuner that needs neither can have no criterion
SEED = int(os.environ.get("RIL_BENCH_KILLS_SEED", "0"))  # draws the cases
TIMES = 3  # kills of a case, at most
GRACE = 0.5  # seconds: the processes of a grid end with their parent, a moment later


@dataclass(frozen=True)
class Case:
    """What is killed: a run of a method and a tuner, in one or two processes, or a grid of two orders.

    until: whether its tasks end at a criterion.
    """

    method: str
    tuner: str
    processes: int = 1
    grid: bool = False
    until: bool = False
    sequence: str = "shapes-smoke"

    def __str__(self) -> str:
        kind = "grid" if self.grid else f"{self.processes} process{'es' * (self.processes > 1)}"
        return f"{self.method} on {self.tuner}, {kind}{', until a gain' * self.until}"

    @property
    def settings(self) -> dict[str, Any]:
        images = {"tuner.images": "shapes"} if "images" in registry.load("tuner", self.tuner).needs else {}
        return SETTINGS | images | (UNTIL if self.until else {})


def outcome(out: Path) -> dict[str, Any]:
    """What must be equal: files of results, calls, and the lines of the log without their seconds."""
    found: dict[str, Any] = {}
    for run in sorted(out.rglob(names.RUN)):
        folder, info = run.parent, json.loads(run.read_bytes())
        place = folder.relative_to(out).as_posix()
        assert info["status"] == "complete", f"{place} is {info['status']}: {info['failure']}"
        found |= {f"{place}/{name}": data for name, data in results(folder).items()}
        for step in info["steps"]:
            calls = {key: step[key] for key in ("training_calls", "evaluation_calls", "denoiser_forwards")}
            found[f"{place}/calls of step {step['step']}"] = calls
        lines = [json.loads(line) for line in (folder / names.LOG).read_bytes().splitlines()]
        found[f"{place}/log"] = [
            {key: value for key, value in line.items() if key not in ("seconds", "crc32")} for line in lines
        ]
    return found


def go(case: Case, out: str, rank: int = 0, port: int = 0) -> None:
    """Does the work of a case in this process; the body of every process that is killed."""
    os.environ["RIL_BENCH_CACHE"] = f"{out}-cache"
    if case.processes > 1:
        os.environ |= {
            "WORLD_SIZE": str(case.processes), "RANK": str(rank), "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
    common: dict[str, Any] = {
        "settings": case.settings,
        "out": out,
        "threads": 1,
        "device": "cpu",
        "quiet": True,
    }
    if case.grid:
        ril_bench.grid(
            sequences=[case.sequence], methods=[case.method], tuners=[case.tuner], orders=["given", "reversed"], jobs=1,
            **common,
        )  # fmt: skip
    else:
        ril_bench.run(case.sequence, method=case.method, tuner=case.tuner, **common)


class Team:
    """The processes of a case, started together and killed together."""

    def __init__(self, case: Case, out: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = forkserver()
        self.processes = [
            context.Process(target=go, args=(case, str(out), rank, port)) for rank in range(case.processes)
        ]
        for process in self.processes:
            process.start()

    @property
    def alive(self) -> bool:
        return any(process.is_alive() for process in self.processes)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
        self.join()
        time.sleep(GRACE)

    def join(self) -> list[int | None]:
        for process in self.processes:
            process.join()
        return [process.exitcode for process in self.processes]


def progress(out: Path) -> int:
    """A number that grows whenever a run writes: bytes of logs, and files."""
    files = [path for path in out.rglob("*") if not path.name.endswith(".tmp")]
    with contextlib.suppress(OSError):
        return len(files) + sum(path.stat().st_size for path in files if path.name == names.LOG)
    return len(files)


def killed(case: Case, out: Path, rng: random.Random, times: int) -> int:
    """Kills a case up to `times` times, then lets it complete; returns how often it was killed."""
    kills = 0
    while True:
        team = Team(case, out)
        if kills < times:
            left, before = rng.randint(1, 12), progress(out)
            while team.alive and left:
                now = progress(out)
                left, before = left - (now != before), now
                time.sleep(0.01 * rng.random())
            time.sleep(0.05 * rng.random())
            if team.alive:
                team.kill()
                kills += 1
                continue
        codes = team.join()
        assert codes == [0] * case.processes, f"{case}: exit codes {codes}"
        return kills


@cache
def whole(case: Case, place: Path) -> dict[str, Any]:
    """The outcome of a case that nothing kills."""
    out = place / "whole"
    assert Team(case, out).join() == [0] * case.processes, f"{case} fails without a kill"
    return outcome(out)


def differences(case: Case, place: Path, seed: int, times: int = 1) -> tuple[int, list[str]]:
    """Kills a case; returns the number of kills, and what differs from the same case without a kill."""
    expected, out = whole(case, place), place / f"killed-{seed}"
    kills = killed(case, out, random.Random(seed), times)
    found = outcome(out)
    return kills, sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )


def random_case(rng: random.Random) -> Case:
    """A random case: mostly one process, as most runs are."""
    kind = rng.choices(["run", "grid", "parallel"], [6, 1, 1])[0]
    tuner = rng.choice(TUNERS)
    until = bool(registry.load("tuner", tuner).needs & REWARD) and rng.random() < 0.4
    return Case(rng.choice(METHODS), tuner, 2 if kind == "parallel" else 1, kind == "grid", until)


def main(number: int) -> int:
    """Kills `number` times, in as many cases at once as there are cores; returns the exit code."""
    rng, drawn, kills, equal = random.Random(SEED), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        at_work: dict[Future[tuple[int, list[str]]], Case] = {}

        def draw() -> None:
            nonlocal drawn
            case, place = random_case(rng), Path(folder, str(drawn))
            at_work[pool.submit(differences, case, place, drawn, TIMES)] = case
            drawn += 1

        for _ in range(os.cpu_count() or 1):
            draw()
        while at_work:
            for future in wait(at_work, return_when=FIRST_COMPLETED).done:
                case, (times, other) = at_work.pop(future), future.result()
                kills, equal = kills + times, equal + times * (not other)
                print(f"{kills:4} of {number}  {case}: {', '.join(other[:4]) or 'equal'}", flush=True)
                if kills + TIMES * len(at_work) < number:
                    draw()
    print(f"{equal} of {kills} kills: the same bytes, calls and log lines as without a kill")
    return int(equal < kills)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
