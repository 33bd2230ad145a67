"""A diffusers pipeline made trainable, and the one sampler."""
