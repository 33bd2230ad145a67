"""How one reward is raised: a tuner a file."""
