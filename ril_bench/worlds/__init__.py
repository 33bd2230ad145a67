"""Embedded worlds: a model, prompts and rewards that ship with the package and need no download."""
