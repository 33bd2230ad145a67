"""The embedded world `shapes`: 64x64 images of coloured shapes, a small diffusion model, learned rewards.

Everything here is made by `python -m ril_bench.worlds.shapes.train`; the results lie in `weights/`.
"""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
