"""How a run is computed on this machine: devices, number formats, processes."""
