"""Tuners: each file has one algorithm that raises one reward, and `base` has the class that they derive from."""
