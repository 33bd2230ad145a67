"""Sequences: files, settings, presets, calibrations, and the files that a sequence needs."""
