"""Mutated specs of every kind: each is read or refused with words, and none takes seconds.

RIL_BENCH_FUZZ is the number of examples of each kind; `make fuzz` tries 10,000.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ril_bench import registry
from ril_bench.config.settings import parse_settings
from ril_bench.config.validation import validated
from ril_bench.config.yaml_source import parse_source, read_source
from ril_bench.errors import RilError
from ril_bench.leaderboard.record import read_card
from ril_bench.running.plan import plan_run
from ril_bench.sequences import presets
from ril_bench.sequences.calibrations import Calibration
from ril_bench.sequences.sequence_file import read_sequence
from ril_bench.storage.digests import sha256_json
from ril_bench.studies.claims.claim_file import read_claim
from ril_bench.studies.grid.axes import axes, plans

EXAMPLES = int(os.environ.get("RIL_BENCH_FUZZ", "60"))
SLOWEST = 2.0  # seconds of this process, for `make fuzz`
slowest: dict[str, float] = {}
SHIPPED = registry.shipped("tasks")
GRID = "sequences: [shapes-smoke]\nmethods: [naive, {name: rid, set: {strength: 0.1}, label: weak}]\nseeds: [0, 1]\n"
CARD = """
authors: [A. Author]
paper: https://arxiv.org/abs/2411.17310
code: null
licence: Apache-2.0
description: Words.
oracle: false
seeds: 3
trials: {tuned: 0, private: 1, how: there is nothing to tune}
"""
#: pieces of text that have broken parsers
ODD = [
    "!!bool maybe", "!!int", "!!float nan", "!!binary aGk=", "!!timestamp 2024-01-01", "2024-01-01", ".nan", ".inf",
    "1e999", "9" * 5000, "9" * 400, "~someone/x", "~", "./none", "x" * 300, "/" + "y" * 5000, "a\0b", "\ud83d",
    '"\\ud83d"', "&a [*a]", "&a &b c", "*a", "[" * 500, "{a: " * 100, "? [a]\n: b", "- - - -", "'", '"', "%TAG ! x",
    "null", "-1", "0", "0.5", "true", "[]", "{}", "--- a\n--- b", "<<: {a: 1}", "\x85", "\t", "\ufeff", "=", "<",
]  # fmt: skip


def _sequence(file: Path) -> None:
    sequence = read_sequence(str(file)).resolve()
    sha256_json(sequence.model_dump(mode="json"))


def _preset(file: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "locate", lambda kind, name: file)
        found = presets.settings_of("it")
    read_sequence("shapes-smoke").resolve(found)


def _setting(file: Path) -> None:
    text = file.read_text(encoding="utf-8", errors="surrogateescape")
    for key in ("budget.updates", "method.strength", "tuner", "tasks.1.reward", "evaluation.probes"):
        plan = plan_run("shapes-smoke", "rid", settings=parse_settings([f"{key}={text}"]))
        plan.build_method()
        sha256_json(plan.identity())


def _claim(file: Path) -> None:
    claim = read_claim(str(file))
    claim.words  # noqa: B018
    for arm in claim.arms.values():
        arm.grid(claim.sequences, 2, claim.set)


KINDS: dict[str, tuple[str, str, Callable[[Path], Any]]] = {
    "sequence": (".yaml", (SHIPPED / "shapes-smoke.yaml").read_text(), _sequence),
    "grid": (".yaml", GRID, lambda file: plans(axes(file, {}))),
    "claim": (".yaml", (SHIPPED / "claims" / "spin-sft.yaml").read_text(), _claim),
    "preset": (".yaml", next(iter(sorted((SHIPPED / "presets").glob("*.yaml")))).read_text(), _preset),
    "card": (".yaml", CARD, read_card),
    "calibration": (
        ".json",
        (SHIPPED / "shapes-ril.calibration.json").read_text(),
        lambda file: validated(Calibration, read_source(file)),
    ),
    "setting": (".txt", "10", _setting),
}


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """A text with one to three changes: a piece is replaced, inserted or cut out."""
    for _ in range(draw(st.integers(1, 3))):
        lines = text.split("\n")
        k = draw(st.integers(0, len(lines) - 1))
        odd = draw(st.sampled_from(ODD) | st.text(max_size=8))
        key, colon, _ = lines[k].partition(": ")
        match draw(st.integers(0, 4)):
            case 0:
                lines[k] = f"{key}: {odd}" if colon else odd
            case 1:
                lines.insert(k, odd)
            case 2:
                del lines[k]
            case 3:
                lines[k] = lines[k].replace(key, odd, 1) if key else odd
            case 4:
                at = draw(st.integers(0, len(lines[k])))
                lines[k] = lines[k][:at] + odd + lines[k][at:]
        text = "\n".join(lines)
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_spec_is_read_or_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix, text, read = KINDS[kind]
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"spec{suffix}"

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(mutated(text))
    def tried(changed: str) -> None:
        file.write_bytes(changed.encode("utf-8", "surrogatepass"))
        began = time.process_time()
        with suppress(RilError):
            read(file)
        slowest[kind] = max(slowest.get(kind, 0.0), time.process_time() - began)

    tried()
    if "RIL_BENCH_FUZZ" in os.environ:  # `make fuzz`, on a machine that does nothing else
        print(f"{kind}: {EXAMPLES} examples, slowest {slowest[kind]:.2f} s")
        assert slowest[kind] < SLOWEST


@given(
    st.recursive(
        st.sampled_from(ODD) | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3).map(str)
    )
)
def test_what_is_read_is_plain(text: str) -> None:
    """Plain values alone, so that whatever is read can be written as JSON."""
    with suppress(RilError):
        data = parse_source(text, "text").data
        assert json.loads(json.dumps(data, allow_nan=False)) == data
