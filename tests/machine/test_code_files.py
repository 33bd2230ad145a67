"""The files of code that a user's file consists of."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ril_bench import registry
from ril_bench.machine.code_files import code_files

METHOD = """
import level_of_helper
from ril_bench import Method
class Mine(Method):
    level = level_of_helper.LEVEL
"""


def test_the_modules_that_code_imports_from_its_folder(tmp_path: Path) -> None:
    files = {
        "main.py": "import a\nfrom b import c\nfrom . import d\nimport os, torch\nrun('tools/e.py')\n",
        "a.py": "def f():\n    import g.h\n",
        "b/__init__.py": "from .inside import x\n",
        "b/c.py": "",
        "b/inside.py": "import main\n",  # a circle
        "d.py": "not python (\n",
        "tools/e.py": "",
        "g/h.py": "",
        "unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {path.relative_to(tmp_path.resolve()).as_posix() for path in code_files(tmp_path / "main.py")}
    assert found == files.keys() - {"unused.py"}


def test_a_changed_module_is_imported_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.py").write_text(METHOD)
    helper = tmp_path / "level_of_helper.py"
    for level in (1, 22):
        helper.write_text(f"LEVEL = {level}\n")
        assert registry.load("method", str(tmp_path / "mine.py")).level == level
    same = sys.modules[helper.stem]
    registry.load("method", str(tmp_path / "mine.py"))
    assert sys.modules[helper.stem] is same


def test_a_module_that_was_imported_before_is_read_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook that imported a helper, and whose user then edited it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "other.py").write_text(METHOD.replace("level_of_helper", "level_of_another"))
    helper = tmp_path / "level_of_another.py"
    helper.write_text("LEVEL = 1\n")
    __import__(helper.stem)
    helper.write_text("LEVEL = 22\n")
    assert registry.load("method", str(tmp_path / "other.py")).level == 22
