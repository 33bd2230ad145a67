"""The command line `ril-bench`: a verb calls the function of `ril_bench` with its name."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from ril_bench import __version__
from ril_bench.cli import authors, doctor, leaderboard, listing, results, runs, studies  # noqa: F401  # their verbs
from ril_bench.cli.common import app, command, program
from ril_bench.cli.console import ReaderLeftError, prepare_streams, warn
from ril_bench.errors import (
    ISSUES,
    BugError,
    InfrastructureError,
    OutOfMemoryError,
    RilError,
    failure_class,
    text_of,
)

#: Exit codes as shells report them: after Ctrl-C, and after the reader has left, as in `ril-bench list | head -1`.
INTERRUPTED, BROKEN_PIPE = 130, 141


@app.callback(invoke_without_command=True)
def _without_verb(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())
    else:
        return
    raise typer.Exit


def main() -> None:
    """The entry point: an error becomes a message and an exit code, without a traceback."""
    prepare_streams()
    code = 0
    try:
        code = _exit_code()
        with suppress(ValueError):  # a method has closed it
            sys.stdout.flush()  # here, where a broken pipe can still be caught
    except (BrokenPipeError, ReaderLeftError):
        _discard_output()
        code = BROKEN_PIPE
    except OSError as error:
        _discard_output()
        if code == 0:  # otherwise there is a message already
            warn(f"error: cannot print the result: {error.strerror or error}", style="red")
            code = InfrastructureError.exit_code
    sys.exit(code)


def _discard_output() -> None:
    """Python flushes stdout again at exit; that flush must not fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit_code() -> int:
    try:
        # in standalone mode Click would choose the exit codes
        code = app(standalone_mode=False, prog_name=program())
    except RilError as error:
        if {"-v", "--verbose"} & set(sys.argv):
            warn(traceback.format_exc())
        warn(f"error: {_typeable(str(error))}", style="red")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (BrokenPipeError, ReaderLeftError):
        raise
    except SystemExit:
        if type(sys.stdout).__name__ == "PacifyFlushWrapper":  # how Click marks a broken pipe
            raise BrokenPipeError from None
        raise
    except OSError as error:  # the machine's, as in a run
        if {"-v", "--verbose"} & set(sys.argv):
            warn(traceback.format_exc())
        hint = "make room on the disk, or name another file or folder"
        if error.filename is None:  # a stream
            hint = "the output of the program goes to a place that takes no more: name another"
        warn(f"error: {InfrastructureError(str(error), hint=hint)}", style="red")
        return InfrastructureError.exit_code
    except Exception as error:
        if failure_class(error) == "memory":
            hint = "use a smaller batch, or a machine with more memory"
            warn(f"error: {OutOfMemoryError(text_of(error), hint=hint)}", style="red")
            return OutOfMemoryError.exit_code
        if not hasattr(error, "format_message"):  # not an error of Click
            return _bug(error)
        warn(f"error: {_usage_error(error)}", style="red")
        return 2
    if code == INTERRUPTED:  # Typer returns this code after Ctrl-C
        warn(f"interrupted; to continue from the last checkpoint: {command(*sys.argv[1:])}")
    return code if isinstance(code, int) else 0


def _bug(error: Exception) -> int:
    """Reports an exception that this program should not have raised; returns the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="ril-bench-bug-"))
    report = [f"ril-bench {__version__}", sys.version, platform.platform(), shlex.join(sys.argv), ""]
    (folder / "report.txt").write_text("\n".join(report) + traceback.format_exc(), "utf-8", "replace")
    if {"-v", "--verbose"} & set(sys.argv):
        warn(traceback.format_exc())
    what = f"this is a bug of RIL-Bench: {text_of(error)}"
    hint = f"report it at {ISSUES}, and attach the folder {folder}"
    warn(f"error: {BugError(what, hint=hint)}", style="red")
    return BugError.exit_code


def _usage_error(error: Any) -> str:
    """The message for wrong arguments: the fault, the usage of the verb, and an example."""
    lines = [error.format_message()]
    context = getattr(error, "ctx", None)
    if context is not None:
        lines += [f"  {' '.join(context.get_usage().split())}"]
        if example := getattr(context.command, "epilog", None):
            lines += [f"  {example}"]
        lines += [f"  hint: {context.command_path} --help"]
    return _typeable("\n".join(lines))


def _typeable(text: str) -> str:
    """The message with commands that work here, even if `ril-bench` is not on the PATH."""
    return re.sub(r"(?<![\w/.-])ril-bench (?=[a-z])", lambda _: f"{program()} ", text)
