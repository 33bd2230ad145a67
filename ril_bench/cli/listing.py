"""The verb list: all names, or the options of one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Optional

import typer

from ril_bench import registry
from ril_bench.cli.common import JsonOption, app
from ril_bench.cli.console import say, show_json, show_table


def _words(incomplete: str) -> list[str]:
    names = [name for kind in registry.KINDS for name in registry.names(kind)]
    return [word for word in (*registry.KINDS, *names) if word.startswith(incomplete)]


@app.command("list", epilog="For example: ril-bench list method, or: ril-bench list rid")
def list_(
    what: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            help=f"A kind ({', '.join(registry.KINDS)}), or a name, whose options are shown. Default: all names.",
            autocompletion=_words,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show sequences, presets, methods, tuners, rewards, models and claims, or the options of one."""
    import ril_bench

    found = ril_bench.list(what)
    if as_json:
        show_json(found)
        return
    for kind, entries in found.items():
        lines = {name: entry for name, entry in entries.items() if isinstance(entry, str)}
        if lines:
            show_table(["name", "what it is"], lines.items(), title=f"{kind}s", plain=True)
            say()
        for name in entries.keys() - lines.keys():
            _show_details(kind, name, entries[name])


def _show_details(kind: str, name: str, details: Mapping[str, Any]) -> None:
    """Prints the description of one name, its facts, and its options with their defaults."""
    say(f"{kind} {name}\n", style="bold")
    say(f"{details['description']}\n")
    for fact, value in details.items():
        if fact in ("description", "options", "settings"):
            continue
        texts = [*map(str, value)] if isinstance(value, list) else [str(value)]
        say(f"{fact}: {('; ' if any(' ' in text for text in texts) else ', ').join(texts)}")
    if settings := details.get("settings"):
        show_table(["setting", "value"], settings.items(), title="settings")
    if options := details.get("options"):
        rows = [[option, *facts.values()] for option, facts in options.items()]
        show_table(["option", "type", "default", "what it does"], rows, title="options")
        say(f"Change one with --set {kind}.OPTION=VALUE.")
    say()
