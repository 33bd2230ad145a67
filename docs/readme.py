"""Writes into README.md what its commands print, and draws its image, both from the leaderboard: `make readme`."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMAGE = ("shapes-ril-draft-FINAL-SSIM-to-step-0.svg", "leaderboard.svg")  # of the site; in docs/
#: <!-- $ ril-bench ... -->, what it printed, <!-- end -->
BLOCK = re.compile(r"(<!-- \$ ril-bench (?P<arguments>.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def rendered(text: str) -> str:
    """The text with every block's content as its command prints it now."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{_printed(found['arguments'])}\n{found[3]}", text)


def main() -> None:
    """Rewrites README.md in place, and docs/leaderboard.svg."""
    readme = ROOT / "README.md"
    readme.write_text(rendered(readme.read_text(encoding="utf-8")), encoding="utf-8")
    with tempfile.TemporaryDirectory() as site:
        _printed(f"report leaderboard --out {shlex.quote(site)}")
        shutil.copyfile(Path(site) / "figures" / IMAGE[0], ROOT / "docs" / IMAGE[1])


def _printed(arguments: str) -> str:
    command = [sys.executable, "-m", "ril_bench", *shlex.split(arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
