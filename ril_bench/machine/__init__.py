"""The machine that computes a run: devices, number formats, memory, processes."""
