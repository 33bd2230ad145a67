"""What every suite of checks does, whatever it checks."""

from __future__ import annotations

import runpy
from pathlib import Path

from ril_bench.conformance.suite import NOWHERE, run_checks


def test_a_line_is_named_in_whatever_folder_its_file_is(tmp_path: Path) -> None:
    """A user's folder may have the name of this package."""
    file = tmp_path / "ril_bench" / "mine.py"
    file.parent.mkdir()
    file.write_text("def check():\n    '''It works.'''\n    raise ValueError('it does not')\n")
    (result,) = run_checks([runpy.run_path(str(file))["check"]], needed=[])
    assert result.fault is not None
    assert result.fault.endswith("it does not (mine.py:3)")
    assert result.hint != NOWHERE
