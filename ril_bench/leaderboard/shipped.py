"""What this installation ships, and entries are compared with: never their own statements. Each is read once."""

from __future__ import annotations

from functools import cache

from ril_bench import registry
from ril_bench.methods import Method
from ril_bench.running.plan import official_sequence
from ril_bench.sequences.calibrations import Calibration, load_calibration
from ril_bench.sequences.spec import Sequence


class Shipped:
    """The official sequences, their calibrations, and the methods. A check of many entries shares one of these."""

    def __init__(self) -> None:
        self.sequence = cache(_sequence)
        self.calibration = cache(self._calibration)
        self.method = cache(_method)

    def _calibration(self, name: str, order: str, tuner: str) -> Calibration | None:
        return load_calibration(self.sequence(name, order, tuner), official=True)


def _sequence(name: str, order: str, tuner: str) -> Sequence:
    """The official sequence in an order and on a tuner."""
    return official_sequence(name, tuner=tuner, order=order)


def _method(name: str) -> type[Method]:
    return registry.load("method", name)
