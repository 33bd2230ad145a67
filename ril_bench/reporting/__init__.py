"""Reports: pages, tables and plots of what run folders hold.

Everything here reads files only; no model is loaded and no metric is computed. `run_page.write_page` shows one run,
`side_by_side.write_side_by_side` a few runs of one sequence, `site.write_site` many. Every page is one HTML file that
needs no network.
"""
