"""Files on disk: names, atomic writes, digests, the run folder, checkpoints, the cache."""
