"""Grids: methods x tuners x sequences x orders x seeds, in parallel runs."""
