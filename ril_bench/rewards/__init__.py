"""Rewards and probes: each scores a batch of pictures for their prompts. One file a reward."""
