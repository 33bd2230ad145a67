"""Whose code failed: turns an exception into an error that names the method, the reward, or a bug of this package."""

from __future__ import annotations

import errno
import inspect
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ril_bench import registry
from ril_bench.errors import ISSUES, BugError, MethodError, RewardError, RilError, failure_class
from ril_bench.machine.code_files import code_files

if TYPE_CHECKING:
    from ril_bench.methods import Method
    from ril_bench.running.materials import Materials
    from ril_bench.running.plan import RunPlan

PACKAGE = Path(__file__).parents[1]
#: what the system reports when a disk or a device fails, whoever wrote the code
MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV}
SEE = "the traceback is in run.json, and --verbose prints it"


@dataclass(frozen=True)
class Owner:
    """Whose code a file is: a "method", a "tuner" or a "reward", with its name."""

    kind: str
    name: str

    def error(self, what: str, where: str) -> RilError:
        cls = RewardError if self.kind == "reward" else MethodError
        return cls(f"the {self.kind} {self.name} {what}", where=where, hint=SEE)


def owners(plan: RunPlan, method: Method, materials: Materials | None) -> dict[Path, Owner]:
    """The owner of each file of code of a run: of its method, and of its rewards once they are loaded."""
    rewards = materials.rewards if materials else {}
    found = owners_of([("reward", name, reward) for name, reward in rewards.items()])
    place = registry.locate("method", plan.method)
    if not isinstance(place, Path):  # of an installed package
        return owners_of([("method", plan.method, method)]) | found
    return dict.fromkeys(code_files(place), Owner("method", plan.method)) | found


def owners_of(objects: Iterable[tuple[str, str, object]]) -> dict[Path, Owner]:
    """The owner of each file of code, from (kind, name, object); code of this package has no owner."""
    found: dict[Path, Owner] = {}
    for kind, name, thing in objects:
        module = sys.modules.get(type(thing).__module__)
        file = Path(getattr(module, "__file__", None) or inspect.getfile(type(thing)))
        if not file.is_relative_to(PACKAGE) and file.is_file():
            found.update(dict.fromkeys(code_files(file), Owner(kind, name)))
    return found


def owned(error: BaseException, of_files: Mapping[Path, Owner]) -> BaseException:
    """The error to raise instead of an exception of a run.

    An exception belongs to the innermost file that has an owner, whichever library raised it. Faults of the machine
    stay faults of the machine, and errors that state a fault in words stay as they are.
    """
    if isinstance(error, RilError) or failure_class(error) == "memory":
        return error
    if isinstance(error, OSError) and error.errno in MACHINE:
        return error
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if Path(frame.filename) in of_files]
    if not theirs:
        return error if isinstance(error, OSError) or not isinstance(error, Exception) else bug(error)
    last = theirs[-1]
    owner = of_files[Path(last.filename)]
    hook = next(frame for frame in theirs if of_files[Path(frame.filename)] == owner).name
    how = "ended the process" if isinstance(error, SystemExit) else f"failed: {_described(error)}"
    return owner.error(f"{how} (in {hook})", f"{last.filename}:{last.lineno}")


def bug(error: BaseException) -> BugError:
    """An exception that this package should not have raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
    return BugError(
        f"this is a bug of RIL-Bench: {_described(error)}",
        where=place,
        hint=f"report it at {ISSUES}, and attach the run.json of this run",
    )


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
