"""Whether this machine can run a sequence: files, memory, time. Nothing is downloaded or loaded."""
