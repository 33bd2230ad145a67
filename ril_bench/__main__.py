"""`python -m ril_bench` is `ril-bench`."""

from ril_bench.cli import main

if __name__ == "__main__":  # worker processes of a grid import their parent's main module
    main()
