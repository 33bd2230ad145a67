"""Rewards and probes, one file for each: they score images for their prompts."""
