"""A trainable diffusers pipeline: its adapters, the sampler, and the states that a rollout visits."""
