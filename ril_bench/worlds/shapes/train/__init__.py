"""The training recipe of the world: `python -m ril_bench.worlds.shapes.train [STAGE ...]`."""
