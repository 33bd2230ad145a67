"""Whose code failed: turns an exception into an error that names the method, the reward, or a bug of this package."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ril_bench import registry
from ril_bench.errors import ISSUES, BugError, MethodError, RewardError, RilError, failure_class, text_of
from ril_bench.machine.exits import exits_refused
from ril_bench.sequences.spec import Sequence

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


def owners(sequence: Sequence, method: str) -> dict[Path, Owner]:
    """The owner of each file of code of a run: of its method, its tuners and its rewards.

    Code of this package has no owner.
    """
    found: dict[Path, Owner] = {}
    for name, reference in sequence.rewards.items():
        found |= dict.fromkeys(registry.code("reward", reference, sequence.home), Owner("reward", name))
    for task in sequence.tasks:
        name = registry.short_name(task.tuner.name)
        found |= dict.fromkeys(registry.code("tuner", task.tuner.name), Owner("tuner", name))
    return found | dict.fromkeys(registry.code("method", method), Owner("method", method))


@contextmanager
def attributed(of_files: Mapping[Path, Owner]) -> Iterator[None]:
    """Inside, an exception becomes the error of its owner, and code of an owner cannot end the process.

    Afterwards stdout and stderr are those from before, whatever the code replaced them with.
    """
    streams = sys.stdout, sys.stderr
    try:
        with exits_refused(lambda file: Path(file) in of_files):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a method must not end the process without a word
        failure = owned(error, of_files)
        if failure is error:
            raise
        raise failure from error
    finally:
        sys.stdout, sys.stderr = streams


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
    how = "ended the process" if isinstance(error, SystemExit) else f"failed: {text_of(error)}"
    return owner.error(f"{how} (in {hook})", f"{last.filename}:{last.lineno}")


def bug(error: BaseException) -> BugError:
    """An exception that this package should not have raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
    return BugError(
        f"this is a bug of RIL-Bench: {text_of(error)}",
        where=place,
        hint=f"report it at {ISSUES}, and attach the run.json of this run",
    )
