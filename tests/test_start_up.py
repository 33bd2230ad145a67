"""What starts at once: code that imports none of the libraries that take seconds to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = ["torch", "diffusers", "pandas", "matplotlib", "numpy"]
PACKAGE = "import ril_bench; ril_bench.run; ril_bench.list"
LIST = "import sys; from ril_bench import cli; sys.argv = ['ril-bench', 'list', '--json']; cli._exit_code()"
DETAILS = """
import ril_bench
from ril_bench.sequences.needs import required_files

for name in ("rid", "drtune", "aesthetic", "shapes-ril"):
    ril_bench.list(name)
for file in required_files(ril_bench.load_sequence("sd15-ril")):
    file.cached_path()
"""
METRICS = "from ril_bench.metrics import continual, statistics"


@pytest.mark.parametrize(
    ("code", "slow"),
    [(PACKAGE, SLOW), (LIST, SLOW), (DETAILS, SLOW), (METRICS, ["torch", "diffusers"])],
    ids=["the package", "ril-bench list", "details of names and files of a sequence", "metrics"],
)
def test_it_imports_no_slow_library(code: str, slow: list[str]) -> None:
    code += f"\nimport sys\nprint('slow:', [name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("slow: []\n")
