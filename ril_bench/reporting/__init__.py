"""Reports: what run folders hold, made to look at.

Everything here reads files only; no model, no metric is computed. `write_page` shows one run,
`write_side_by_side` sets a few runs of one sequence side by side, `site.write_site` shows many. Every page is one
HTML file that needs no network. The site is not imported here: it alone needs matplotlib.
"""

from ril_bench.reporting.run_page import write_page, write_page_after_run
from ril_bench.reporting.side_by_side import write_side_by_side

__all__ = ["write_page", "write_page_after_run", "write_side_by_side"]
