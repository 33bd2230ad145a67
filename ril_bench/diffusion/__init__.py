"""A trainable pipeline of diffusers, its adapters, the sampler, and the states of a rollout."""
