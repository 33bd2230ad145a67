"""One run: its plan, materials, updates, steps and checkpoints, and steps that runs share."""
