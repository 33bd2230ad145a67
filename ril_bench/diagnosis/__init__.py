"""Whether this machine can run a sequence, without a download and without loading weights."""
