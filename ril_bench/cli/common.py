"""What the verbs share: the app, and the options that several verbs have."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Optional

import typer

from ril_bench import registry

app = typer.Typer(
    name="ril-bench",
    help="Reward incremental learning: teach a diffusion model one reward after another, and see what it forgets.",
    epilog="Start with: ril-bench demo. Help for a verb: ril-bench run --help. "
    "Completion of verbs and names with the Tab key: ril-bench --install-completion.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

#: Panels of the help of a verb with many options.
WHAT, HOW, SHOWN = "What is run", "How it is run", "What is printed"


def names_of(kind: str) -> Callable[[str], list[str]]:
    """A function that completes a name of this kind, for the Tab key."""
    return lambda incomplete: [name for name in registry.names(kind) if name.startswith(incomplete)]


SequenceArgument = Annotated[
    str,
    typer.Argument(
        help="The name of a sequence (ril-bench list sequence), or the path of a YAML file.",
        autocompletion=names_of("sequence"),
    ),
]
MethodOption = Annotated[
    str,
    typer.Option(
        "--method",
        "-m",
        help="The name of a method (ril-bench list method), or the path of a .py file.",
        autocompletion=names_of("method"),
        rich_help_panel=WHAT,
    ),
]
TunerOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="A tuner to use instead of the sequence's. Default: the sequence's tuner.",
        autocompletion=names_of("tuner"),
        rich_help_panel=WHAT,
    ),
]
PresetOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="Published settings by name (ril-bench list preset). Default: none.",
        autocompletion=names_of("preset"),
        rich_help_panel=WHAT,
    ),
]
SettingsOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting of the sequence (budget.updates=10) or of the method (method.strength=0.1). Repeatable.",
        rich_help_panel=WHAT,
    ),
]
OutOption = Annotated[
    Path, typer.Option("--out", help="The folder that holds the runs.", rich_help_panel=HOW)
]
DeviceOption = Annotated[
    str,
    typer.Option(help="cpu, cuda, cuda:1, ...; auto uses a GPU if there is one.", rich_help_panel=HOW),
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="CPU threads of each run. The same number of threads gives the same bytes; the leaderboard uses 1.",
        rich_help_panel=HOW,
    ),
]
JobsOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        min=1,
        help="Runs at the same time. Default: the number of cores divided by --threads; one on a GPU.",
        rich_help_panel=HOW,
    ),
]
ComputeOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--compute",
        metavar="KEY=VALUE",
        help="How to compute: dtype=bfloat16, checkpointing=true, ... Repeatable. Default: float32, without options "
        "that trade time for memory.",
        rich_help_panel=HOW,
    ),
]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Download nothing, as HF_HUB_OFFLINE=1 does.", rich_help_panel=HOW)
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON and nothing else, for scripts.", rich_help_panel=SHOWN)
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print no progress, only the result.", rich_help_panel=SHOWN),
]
VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Print a line for every update, and the traceback of an error.",
        rich_help_panel=SHOWN,
    ),
]


def program() -> str:
    """The command for this program in this shell.

    It is "ril-bench" if the shell finds it, else its path or `python -m ril_bench`.
    """
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m ril_bench"
    found = shutil.which("ril-bench")
    if started.name != "ril-bench" or (found and Path(found).resolve() == started.resolve()):
        return "ril-bench"
    return (
        shlex.quote(os.path.relpath(started))
        if started.is_relative_to(Path.cwd())
        else shlex.quote(str(started))
    )


def command(*words: object) -> str:
    """A command line for this program, with every word quoted for a shell."""
    return f"{program()} {shlex.join(map(str, words))}"
