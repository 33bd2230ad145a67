"""Reports: what a run folder holds, made to look at.

Everything here reads files only; no model, no metric is computed. `write_page` shows one run,
`write_demo_page` sets a few runs of one sequence side by side. Both are single HTML files that need neither
network nor JavaScript.
"""

from ril_bench.pages.page import write_demo_page, write_page

__all__ = ["write_demo_page", "write_page"]
