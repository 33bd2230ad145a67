"""Which metrics this machine cannot compute, and why. No torch.

`run`, `doctor` and the scoring report the same notes.
"""

from __future__ import annotations

from importlib.util import find_spec

from ril_bench.errors import RilError, UserError
from ril_bench.remote.file import RemoteFile
from ril_bench.remote.network import downloads_are_off, hub_answers
from ril_bench.remote.published import used_by
from ril_bench.worlds.table import FeatureNetwork, World


def missing_metrics(world: World) -> list[str]:
    """The metrics that a run will lack on this machine: a note for each missing network.

    A note states the metrics, the reason and a hint; metrics.json has the same note after the run. A file that can be
    downloaded is not missing. Nothing is downloaded or loaded here.
    """
    unusable = {network: error for network in world.networks if (error := package_fault(network))}
    absent = [network for network in world.networks if network not in unusable and _absent(network)]
    if absent and not hub_answers():
        reason = "downloads are off" if downloads_are_off() else "the hub does not answer"
        unusable |= {network: _absent(network)[0].not_here(reason) for network in absent}
    return [note(network, unusable[network]) for network in world.networks if network in unusable]


def package_fault(network: FeatureNetwork) -> UserError | None:
    """The error if the Python package of a network is not installed, else None."""
    if network.package is None or find_spec(network.package) is not None:
        return None
    return UserError(
        f"{network.user} needs the package {network.package}, which is not installed",
        hint=f"pip install 'ril-bench[{network.extra}]'",
    )


def note(network: FeatureNetwork, error: RilError) -> str:
    """An error as a note of one line."""
    return f"no {network.metrics}: {error.in_one_line}"


def _absent(network: FeatureNetwork) -> list[RemoteFile]:
    """The files of a network that are not on this machine."""
    return [file for file in used_by(network.user) if file.cached_path() is None]
