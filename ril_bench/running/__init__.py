"""One run: its plan, its materials, updates, steps, checkpoints, and the steps that runs share."""
