"""The command line `ril-bench`: its verbs are thin over the functions of `ril_bench`."""

from __future__ import annotations

import os
import re
import sys
import traceback
from typing import Annotated, Any

import typer

from ril_bench import __version__
from ril_bench.cli import authors, doctor, leaderboard, listing, results, runs, studies  # noqa: F401  # their verbs
from ril_bench.cli.common import app, command, program
from ril_bench.cli.console import prepare_streams, warn
from ril_bench.errors import RilError

INTERRUPTED = 130  # the exit code that a shell gives to a process that Ctrl-C ended
BROKEN_PIPE = 141  # and to one whose reader has gone, as in `ril-bench list | head -1`


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
    try:
        code = _exit_code()
        sys.stdout.flush()  # here, where a broken pipe can still be caught
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        code = BROKEN_PIPE
    sys.exit(code)


def _exit_code() -> int:
    try:
        # standalone_mode off: Click would choose the exit codes
        code = app(standalone_mode=False, prog_name=program())
    except RilError as error:
        if {"-v", "--verbose"} & set(sys.argv):
            warn(traceback.format_exc())
        warn(f"error: {_typeable(str(error))}", style="red")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if not hasattr(error, "format_message"):  # not Click's
            raise
        warn(f"error: {_usage_error(error)}", style="red")
        return 2
    if code == INTERRUPTED:  # Typer returns the code where Ctrl-C was pressed
        warn(f"interrupted; to continue from the last checkpoint: {command(*sys.argv[1:])}")
    return code if isinstance(code, int) else 0


def _usage_error(error: Any) -> str:
    """What is wrong with the words of a command, how the verb is used, and an example to type."""
    lines = [error.format_message()]
    context = getattr(error, "ctx", None)
    if context is not None:
        lines += [f"  {' '.join(context.get_usage().split())}"]
        if example := getattr(context.command, "epilog", None):
            lines += [f"  {example}"]
        lines += [f"  hint: {context.command_path} --help"]
    return _typeable("\n".join(lines))


def _typeable(text: str) -> str:
    """A message whose commands work in this shell, where `ril-bench` may not be on the PATH."""
    return re.sub(r"(?<![\w/.-])ril-bench (?=[a-z])", lambda _: f"{program()} ", text)
