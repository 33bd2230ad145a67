"""Adapters that change the images of a tiny model, and two ways to predict with them."""

import torch

PROMPTS = ["a red circle", "a large blue star"]


def filled(model, name, **options):
    """Adds an adapter whose B is not zero, so that it changes the images by more than rounding."""
    model.add_adapter(name, seed_key=("test",), **options)
    generator = torch.Generator().manual_seed(len(name))
    with torch.no_grad():
        for parameter in model.adapter_parameters(name).values():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))


def no_grad_predict(model, x):
    with torch.no_grad():
        return model.predict(x, 501, PROMPTS, 3.0)


def live_predict(model, x):
    """Predicts through PEFT's live layers; `predict` may fold them instead."""
    text = model.embed(["", "", *PROMPTS])
    with torch.no_grad():
        uncond, cond = model.denoiser(torch.cat([x, x]), 501, encoder_hidden_states=text).sample.chunk(2)
    return uncond + 3.0 * (cond - uncond)


def weights(model):
    return {key: weight.clone() for key, weight in model.denoiser.state_dict().items()}


def trainable(model):
    return {key for key, weight in model.denoiser.named_parameters() if weight.requires_grad}
