"""Studies of many runs: grids, the tuning of a strength, the calibration of a sequence."""
