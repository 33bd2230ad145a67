"""The pages of the documentation site that are written by code, so that they cannot differ from it.

MkDocs calls `on_files` while it builds (mkdocs.yml names this file as a hook). Each page below is a function that
returns Markdown.
"""

from __future__ import annotations

import enum
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import ril_bench
from ril_bench import registry
from ril_bench.cli import app
from ril_bench.metrics.properties import PROPERTIES
from ril_bench.reporting.glossary import NOTATION, glossary
from ril_bench.reporting.listing import described

ROOT = Path(__file__).parents[1]
REPOSITORY_FILE = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)(#[^)]*)?\)")
API = """# Python API

The public names of `ril_bench`. Every verb of the command line is a function with the same options and defaults,
except the options that only print, such as `--json`. A `--dry-run` is a function of its own: `preview` (of `run`),
`preview_grid`, `preview_claim` (of `reproduce`) and `preview_submission`. A name is imported when it is first used, so
`import ril_bench` is fast.

```python
import ril_bench

run = ril_bench.run("shapes-smoke", method="naive", settings={"budget.updates": 4})
run.matrix
```"""
#: pages of the site by the file of the repository that they show
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "leaderboard/README.md": "leaderboard.md",
}


def on_files(files: Any, config: Any) -> Any:
    """MkDocs's hook: adds the generated pages to the files of the site."""
    from mkdocs.structure.files import File

    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """MkDocs's hook: links to files outside docs/, which work on GitHub, lead to their pages in the site."""
    folder = posixpath.dirname(page.file.src_uri)

    def led(found: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join("docs", folder, found[1]))
        shown = f"{posixpath.relpath(PAGES[place], folder or '.')}{found[2] or ''}" if place in PAGES else ""
        return f"]({shown})" if shown else found[0]

    return REPOSITORY_FILE.sub(led, markdown)


def pages() -> dict[str, str]:
    """{place in the site: Markdown} of every generated page."""
    return {
        "reference/api.md": api(),
        "reference/commands.md": commands(),
        "reference/names.md": names(),
        "notebooks/short-study.md": notebook(ROOT / "docs" / "notebooks" / "short-study.ipynb"),
        "contributing.md": from_repository("CONTRIBUTING.md"),
        "changelog.md": from_repository("CHANGELOG.md"),
        "leaderboard.md": from_repository("leaderboard/README.md"),
    }


def metrics() -> str:
    """One section a metric, from the table that reports use too."""
    parts = [
        "# Metrics",
        (
            "Reports, `ril-bench report` and this page take their words from one table in the code. "
            "The [glossary](glossary.md) explains the words *step*, *task*, *reward* and *probe*."
        ),
        (
            "A **floor** is what a metric shows where there is nothing to see. For FORGET, FID and KID it is the value "
            "from noise alone, if nothing had changed; for a similarity, that of two unrelated images of one prompt. "
            "Compare a metric with its floor before you compare it with another method."
        ),
        f"**Notation.** {_words(NOTATION)}",
    ]
    group = None
    for metric in glossary():
        if metric["group"] != group:
            group = metric["group"]
            parts.append(f"## {group}")
        parts.append(
            f"### {metric['name']}\n\n"
            f"{_words(metric['meaning'])} **{metric['direction'].capitalize()}.**\n\n"
            f"- *Formula:* `{metric['formula']}`\n"
            f"- *Range:* {_words(metric['range'])}.\n"
            f"- *When to distrust it:* {_words(metric['distrust'])}\n"
            f"- *Stored as* `{metric['key']}`"
        )
    return "\n\n".join([*parts, properties()]) + "\n"


def properties() -> str:
    """The table of the properties of a sequence, with their bounds."""
    about = (
        "`ril-bench calibrate` measures whether a sequence can tell methods apart. It runs *single* (each task tuned "
        "alone, from the pretrained model), *naive* and *joint* on several seeds. A gain of a task is "
        "d (u − b) / sigma: b is the mean reward at step 0, u the mean reward of single after the task, d the "
        "direction of the reward, and sigma its standard deviation over prompts at step 0. A sequence outside a bound "
        "still runs; its runs state what it cannot show."
    )
    rows = [
        f"| {known.words} | {known.bound_in_words} | {known.definition} | {known.otherwise or 'only reported'} |"
        for known in PROPERTIES.values()
    ]
    head = ["| Property | Bound | Definition | Without it, runs cannot show |", "|---|---|---|---|"]
    return "\n\n".join(["## Properties of a sequence", about, "\n".join([*head, *rows])])


def api() -> str:
    """The public names, each with its docstring, which mkdocstrings inserts."""
    groups = {
        "Run and look": ["run", "Run", "report", "compare", "score", "export"],
        "Many runs": ["grid", "GridSpec", "calibrate", "tune"],
        "Before a run": ["list", "check", "doctor", "preview", "preview_grid", "preview_claim", "new"],
        "The leaderboard": ["submit", "preview_submission"],
        "Base classes": ["Method", "Plan", "Consolidation", "Reward", "Tuner", "Log"],
        "Sequences": ["Sequence", "load_sequence"],
        "Errors": ["RilError", "UserError", "NumericalError"],
    }
    public = [name for name in ril_bench.__all__ if not name.startswith("_")]
    grouped = {name for names in groups.values() for name in names}
    groups["More"] = [name for name in public if name not in grouped]
    parts = [API]
    for title, listed in groups.items():
        if shown := [name for name in listed if name in public]:
            parts.append("\n".join([f"## {title}", "", *(f"::: ril_bench.{name}" for name in shown)]))
    return "\n\n".join(parts) + "\n"


def commands() -> str:
    """Every command with its arguments, options and help, from the command line itself."""
    parts = [
        "# Commands",
        "This page is generated from the command line. `ril-bench COMMAND --help` prints the same in a terminal.",
    ]
    parts += _commands(typer.main.get_command(app), "ril-bench")
    return "\n\n".join(parts) + "\n"


def _commands(command: Any, called: str) -> Iterator[str]:
    """A section for a command; a group has one for each of its commands, by name."""
    if subcommands := getattr(command, "commands", None):
        for name in sorted(subcommands):
            if not subcommands[name].hidden:
                yield from _commands(subcommands[name], f"{called} {name}")
        return
    shown = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    options = [p for p in shown if p.param_type_name == "option"]
    usage = [p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments]
    usage = [f"{word}..." if p.nargs == -1 else word for word, p in zip(usage, arguments, strict=True)]
    usage += [f"{p.opts[0]} {p.name.upper()}" for p in options if p.required]
    yield f"## {called}\n\n{_prose(command.help)}"
    if example := _prose(getattr(command, "epilog", None)).removeprefix("For example: "):
        yield f"For example: `{example}`"
    yield f"```text\n{' '.join([called, *usage, *(['[OPTIONS]'] if options else [])])}\n```"
    rows = [f"| `{p.name.upper()}` | {_cell(_prose(p.help))} | {_default(p)} |" for p in arguments]
    rows += [
        f"| {', '.join(f'`{word}`' for word in (*p.opts, *p.secondary_opts))} | {_cell(_prose(p.help))} | "
        f"{_default(p)} |"
        for p in options
    ]
    if rows:
        yield "\n".join(["| argument or option | what it does | default |", "|---|---|---|", *rows])


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if value is None or value is False or value == [] or value == () or "UNSET" in repr(value).upper():
        return ""
    value = value.value if isinstance(value, enum.Enum) else value
    return f"`{' '.join(map(str, value)) if isinstance(value, list | tuple) else value}`"


def names() -> str:
    """What ships, as `ril-bench list` prints it."""
    parts = [
        "# Names",
        (
            "What ships, by the name that commands and files use. `ril-bench list` prints the same, and "
            "`ril-bench list NAME` shows one with its options."
        ),
    ]
    for kind in registry.KINDS:
        rows = [f"| `{name}` | {_cell(summary)} |" for name, summary in described(kind)]
        parts.append("\n".join([f"## {kind.capitalize()}s", "", "| name | what it is |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def notebook(file: Path) -> str:
    """A notebook as a page: its text, its code, and the small outputs that are stored in it."""
    parts = []
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += filter(None, map(_output, cell["outputs"]))
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="{_alt(data)}" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "text/html" in data:
        html = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
        # the theme styles tables without a class alone
        html = html.replace('<table border="1" class="dataframe">', "<table>")
        return "\n".join(line for line in html.splitlines() if line.strip())
    text = "".join(data.get("text/plain", output.get("text", ""))).rstrip()
    return f"```text\n{text}\n```" if text else ""


def _alt(data: dict[str, Any]) -> str:
    return "".join(data.get("text/plain", "plot")).strip("<>").replace('"', "'")


def from_repository(name: str) -> str:
    """A file of the repository as a page: its links lead to pages of the site.

    Raises ValueError for a link to a file that is no page.
    """

    def led(found: re.Match[str]) -> str:
        place, anchor = posixpath.normpath(posixpath.join(posixpath.dirname(name), found[1])), found[2] or ""
        if place in PAGES:
            return f"]({PAGES[place]}{anchor})"
        if place.startswith("docs/") and place.endswith(".md"):
            return f"]({place.removeprefix('docs/')}{anchor})"
        raise ValueError(
            f"{name} links to {place}, which is no page of the site: name the file as code instead"
        )

    return REPOSITORY_FILE.sub(led, (ROOT / name).read_text(encoding="utf-8"))


def _prose(text: str | None) -> str:
    """A help text without Typer's marks, its lines joined within a paragraph."""
    paragraphs = (text or "").replace("\b", "").replace("\f", "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _words(text: str) -> str:
    """Prose in which brackets are brackets: N[i][j] is no link."""
    return text.replace("[", "\\[").replace("]", "\\]")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(metrics(), end="")  # docs/metrics.md: stored, because README.md leads to it
