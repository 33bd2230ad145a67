"""Rules of the repository: one version, one table of layers, no large files by accident."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LARGE = 1_000_000  # bytes
#: weights of the embedded world, and entries of the leaderboard
MAY_BE_LARGE = ("ril_bench/worlds/shapes/weights/", "leaderboard/entries/")


@pytest.fixture(scope="module")
def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_contributing_shows_the_layers_that_are_enforced(pyproject):
    block = read("CONTRIBUTING.md").split("never the reverse:\n\n")[1].split("\n\n")[0]
    shown = [re.split(r"\s{2,}", line.strip())[0].split(", ") for line in block.splitlines()]
    (contract,) = pyproject["tool"]["importlinter"]["contracts"]
    enforced = [re.split(r" [:|] ", layer) for layer in contract["layers"]]
    assert [sorted(layer) for layer in shown] == [sorted(layer) for layer in enforced]
    assert contract["exhaustive"] is True  # a module without a layer is an error
    assert contract["exhaustive_ignores"] == ["__main__"]


def test_files_and_tests_that_contributing_names_exist():
    text = read("CONTRIBUTING.md")
    code = [*re.findall(r"```sh\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)]
    folders = "|".join(folder.name for folder in ROOT.iterdir() if folder.is_dir() and folder.name[0] != ".")
    named = {path for line in code for path in re.findall(rf"(?<![\w./])(?:{folders})/[\w./-]*", line)}
    assert len(named) > 15
    # tests/tiny.runner is a function of tests/tiny.py
    missing = [
        name for name in named if not ((ROOT / name).exists() or (ROOT / name).with_suffix(".py").is_file())
    ]
    assert missing == []
    for file, word in re.findall(r"pytest (\S+\.py) -k (\w+)", text):
        assert re.search(rf"^def test_\w*{word}", read(file), re.MULTILINE), (
            f"{file} has no test called {word}"
        )


def test_the_version_is_written_in_the_package_alone(pyproject):
    assert "version" in pyproject["project"]["dynamic"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "ril_bench/__init__.py"


def test_extras_that_a_hint_names_exist(pyproject):
    extras = set(pyproject["project"]["optional-dependencies"])
    texts = [file for folder in ("ril_bench", "docs") for file in (ROOT / folder).rglob("*.*")]
    texts = [file for file in texts if file.suffix in (".py", ".md")]
    named = {
        extra
        for file in [*texts, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
        for extras_of in re.findall(r"ril-bench\[([a-z,]+)\]", file.read_text(encoding="utf-8"))
        for extra in extras_of.split(",")
    }
    assert {"real", "ray"} <= named <= extras


def test_no_large_file_but_weights_and_entries():
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    large = {
        name: size
        for name in listed.stdout.split("\0")
        if name and (ROOT / name).is_file() and (size := (ROOT / name).stat().st_size) > LARGE
        if not name.startswith(MAY_BE_LARGE)
    }
    assert large == {}
