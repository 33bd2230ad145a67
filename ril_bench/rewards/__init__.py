"""Rewards and probes: each scores a batch of images for their prompts. One file for each reward."""
