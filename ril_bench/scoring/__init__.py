"""Computes the metrics of a run from the files of its folder."""
