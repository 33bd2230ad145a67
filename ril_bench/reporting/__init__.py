"""Reports: pages, tables and plots of what run folders hold.

Everything here reads files only; no model is loaded and no metric is computed. `write_page` shows one run,
`write_side_by_side` a few runs of one sequence, `site.write_site` many. Every page is one HTML file that needs no
network. Nothing is imported before it is used: `ril-bench list` needs a module of this package, but no pandas.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "run_page": ["write_page", "write_page_after_run"],
        "side_by_side": ["write_side_by_side"],
    },
)
