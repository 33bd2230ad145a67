"""The embedded world `shapes`: 64x64 images of shapes, a small model, learned rewards.

`python -m ril_bench.worlds.shapes.train` trains all of it; `weights/` holds the weights that ship.
"""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
