"""Files on disk: names, atomic writes, digests, run folders, checkpoints, and the cache."""
