"""What the runner is made of: the plan, its materials, an update, a step, checkpoints, and what runs share."""
