"""Grids: methods x tuners x sequences x orders x seeds, run side by side."""
