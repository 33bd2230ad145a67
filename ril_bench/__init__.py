"""RIL-Bench: a benchmark suite for reward incremental learning of text-to-image diffusion models.

    import ril_bench

    run = ril_bench.run("shapes-ril", method="rid", seed=0)
    run.summary                                 # the main metrics, as a Series
    run.normalised                              # DataFrame: rows step 0..T, one column for each reward
    ril_bench.report("runs", out="site")        # index.html, a page for each run, tables and plots

Every verb of the command line is a function of the same name with the same options, except those that only print, such
as --json. A --dry-run is a function of its own: `preview` (of `run`), `preview_grid`, `preview_claim` (of `reproduce`)
and `preview_submission`. `__init__.pyi` lists all public names; each is imported when it is first used, so that `import
ril_bench` does not import torch.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)

# `from ril_bench import *` must not replace Python's own `list`.
__all__ = [name for name in _names if name != "list"]
