"""The wheel and the source distribution: their content, and that the wheel works elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

import ril_bench

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, built as by `python -m build`, but without a new environment."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def source(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    (found,) = built.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(found) as archive:
        # Python before 3.11.4 has no filter, and needs none here: the archive is our own
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (top,) = folder.iterdir()
    return top


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds what the wheel installs."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def tracked(*folders: str) -> set[str]:
    """The files of these folders that git tracks."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", *folders], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).exists()}


def test_the_wheel_holds_the_package_and_what_it_ships_with(installed):
    found = files(installed)
    assert tracked("ril_bench") <= found
    assert {f"ril_bench/_shipped/{name}" for name in tracked("tasks", "baselines")} <= found
    assert "ril_bench/py.typed" in found
    top_folders = {name.split("/")[0] for name in found} - {"ril_bench"}
    assert top_folders == {f"ril_bench-{ril_bench.__version__}.dist-info"}


def test_the_source_distribution_builds_the_same_wheel(source, wheel, tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert {item.filename: item.CRC for item in first.infolist()} == {
            item.filename: item.CRC for item in second.infolist()
        }


def test_the_source_distribution_has_the_tests(source):
    assert tracked("tests", "baselines", "tasks") <= files(source)


def test_the_metadata(installed):
    metadata = message_from_bytes(next(installed.glob("*.dist-info/METADATA")).read_bytes())
    assert isinstance(metadata, Message)
    assert metadata["Version"] == ril_bench.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    labels = {line.split(", ")[0] for line in metadata.get_all("Project-URL")}
    assert {"Homepage", "Documentation", "Changelog", "Issues", "Paper"} <= labels
    text = metadata.get_payload()
    assert text.startswith("# RIL-Bench")


def test_the_wheel_works_outside_the_repository(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    code = "import ril_bench; print(ril_bench.__file__)"
    for arguments, expected in (
        (["-c", code], str(installed)),
        (["-m", "ril_bench", "list"], "shapes-smoke"),
    ):
        ended = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert expected in ended.stdout
