"""The verb doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ril_bench.api.alone import alone
from ril_bench.api.common import OUT, Settings, set_network
from ril_bench.storage.files import expanded

if TYPE_CHECKING:
    from ril_bench.diagnosis.report import Diagnosis


@alone
def doctor(
    sequence: str,
    *,
    tuner: str | None = None,
    preset: str | None = None,
    settings: Settings = (),
    out: str | Path = OUT,
    device: str = "auto",
    compute: Settings = (),
    offline: bool = False,
) -> Diagnosis:
    """Checks whether this machine can run a sequence, and reports a hint for each fault.

    It checks files, memory and time, downloads nothing and loads no weights. The arguments are those of `run`;
    times come from complete runs in `out`.

    Raises UserError for a wrong sequence, setting or device.
    """
    from ril_bench.diagnosis.diagnose import doctor

    set_network(offline)
    return doctor(
        sequence,
        tuner=tuner,
        preset=preset,
        settings=settings,
        out=expanded(out),
        device=device,
        compute=compute,
    )
