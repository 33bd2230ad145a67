"""The verb that shows what there is to choose from: list."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from ril_bench import registry
from ril_bench.cli.common import JsonOption, app
from ril_bench.cli.console import say, show_json, show_table


@app.command("list", epilog="For example: ril-bench list method")
def list_(
    kind: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            help=f"One of {', '.join(registry.KINDS)}. Default: all.",
            autocompletion=lambda incomplete: [
                kind for kind in registry.KINDS if kind.startswith(incomplete)
            ],
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show sequences, presets, methods, tuners, rewards and models, each with one line on what it is."""
    import ril_bench

    found = ril_bench.list(kind)
    if as_json:
        show_json(found)
        return
    for each, lines in found.items():
        show_table(["name", "what it is"], lines.items(), title=f"{each}s", plain=True)
        say()
