"""Worlds: which rewards and which feature networks belong to a model."""
