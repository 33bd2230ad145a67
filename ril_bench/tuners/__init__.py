"""Tuners: each file has one algorithm that raises one reward; `base` has their base class."""
