"""The verbs of `ril-bench`, thin over the Python API."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ril_bench import __version__
from ril_bench.cli import authors, doctor, results, runs, submissions  # noqa: F401  # their verbs
from ril_bench.cli.common import app, err_console
from ril_bench.errors import RilError

INTERRUPTED = 130  # the exit code of a shell's child that SIGINT ended


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """The entry point: errors as a message with an exit code, no traceback."""
    try:
        # standalone_mode off: Click would turn every failure into its own exit code
        code = app(standalone_mode=False)
    except RilError as error:
        err_console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        err_console.print(f"error: {error.format_message()}", style="red", markup=False, highlight=False)
        code = 2
    if code == INTERRUPTED:  # Typer makes a return value of Ctrl-C
        err_console.print("interrupted; the same command goes on from the last checkpoint")
    sys.exit(code if isinstance(code, int) else 0)
