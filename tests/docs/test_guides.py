"""The guides in docs/, followed to the letter: their files written, their commands called, in their order.

Blocks are ```LANGUAGE FILE (a file to write), ```sh (commands) and ```sh minutes (commands in which shapes-smoke takes
the place of shapes-ril).
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from ril_bench import cli

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = sorted(DOCS.glob("add-a-*.md"))
BLOCK = re.compile(r"^```(?P<language>\w+)(?: (?P<note>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(guide: Path) -> list[re.Match]:
    return list(BLOCK.finditer(guide.read_text()))


def commands(block: re.Match) -> list[list[str]]:
    body = block["body"]
    if block["note"] == "minutes":
        body = body.replace("shapes-ril", "shapes-smoke")
    return [shlex.split(line, comments=True) for line in body.splitlines() if line.strip()]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_can_be_followed(guide, tmp_path, monkeypatch, capsys, in_this_process):
    monkeypatch.chdir(tmp_path)
    for block in blocks(guide):
        if block["language"] != "sh":
            if block["note"]:
                Path(block["note"]).write_text(block["body"])
            continue
        for command in commands(block):
            assert command[0] == "ril-bench"
            monkeypatch.setattr(sys, "argv", command)
            with pytest.raises(SystemExit) as left:
                cli.main()
            said = capsys.readouterr()
            assert left.value.code == 0, f"{shlex.join(command)}\n{said.out}{said.err}"


def test_there_are_three_guides_and_each_of_them_does_something():
    assert [guide.stem for guide in GUIDES] == ["add-a-method", "add-a-reward", "add-a-sequence"]
    for guide in GUIDES:
        found = blocks(guide)
        assert any(block["note"] and block["language"] != "sh" for block in found)
        assert sum(len(commands(block)) for block in found if block["language"] == "sh") >= 2


def test_every_command_of_the_readme_is_a_verb():
    known = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    named = re.findall(r"ril-bench (\w+)", (DOCS.parent / "README.md").read_text())
    assert named
    assert set(named) <= known
