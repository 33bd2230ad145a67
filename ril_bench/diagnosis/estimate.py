"""Counts the memory and the operations of a model's calls on torch's meta device.

Tensors on the meta device have no content. Bytes are those of the tensors that autograd keeps for the backward call,
counted one by one. Operations are torch's count; a multiplication and an addition are two. Attention is counted as a
fused kernel, which keeps its inputs, its output and one number for each row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel
from diffusers.models.attention import JointTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from ril_bench.diffusion.families import latent_size
from ril_bench.errors import UserError
from ril_bench.machine.compute import Compute

P = ParamSpec("P")
R = TypeVar("R")
TOKENS, T5_TOKENS = 77, 256  # of CLIP's text encoders, and of T5 in Stable Diffusion 3
#: The blocks that checkpointing runs again. The backward call keeps all tensors of one block at a time.
BLOCKS = (ResnetBlock2D, Transformer2DModel, JointTransformerBlock)
#: The denoiser's part of a pipeline -> its class
DENOISERS: dict[str, Any] = {"unet": UNet2DConditionModel, "transformer": SD3Transformer2DModel}


@dataclass(frozen=True)
class ModelCall:
    """The cost of one call for one image; a guided prediction is two calls."""

    flops: float  # of the forward call
    kept: int  # bytes for the backward call, with gradients on
    trained: int = 0  # the adapter's weights
    folded: int = 0  # bytes of the layers that have the adapter


class _FusedAttention(torch.autograd.Function):
    """The shapes of fused attention, and the tensors that it keeps for the backward call."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = torch.empty(*q.shape[:-1], v.shape[-1], dtype=q.dtype, device=q.device)
        ctx.save_for_backward(q, k, v, out, torch.empty(q.shape[:-1], device=q.device))
        return out


class _Fused(TorchFunctionMode):
    """Counts attention as one fused kernel; on the meta device torch would decompose it."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        q, k, v = (*args, *((kwargs or {}).get(name) for name in ("query", "key", "value")[len(args) :]))[:3]
        self.flops += 2.0 * q.numel() * k.shape[-2] + 2.0 * q[..., 0].numel() * k.shape[-2] * v.shape[-1]
        return _FusedAttention.apply(q, k, v)


@contextmanager
def counted_saves(modules: nn.Module) -> Iterator[dict[int, int]]:
    """Counts the bytes of every storage that autograd keeps inside the block.

    The weights of `modules` are not counted.
    """
    own = {parameter.untyped_storage()._cdata for parameter in modules.parameters()}
    kept: dict[int, int] = {}
    held = []  # keeps the storages alive: the address of a freed storage might be used again

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
            held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


def once(count: Callable[P, R]) -> Callable[P, R]:
    """Keeps what a function of plain values returns: an architecture is counted once a process."""
    found: dict[str, R] = {}

    @wraps(count)
    def kept(*args: P.args, **kwargs: P.kwargs) -> R:
        key = repr((args, kwargs))
        if key not in found:
            found[key] = count(*args, **kwargs)
        return found[key]

    return kept


@once
def denoiser(
    part: str, config: Mapping[str, Any], rank: int, targets: list[str], compute: Compute, *, chained: bool
) -> ModelCall:
    """A call of a denoiser with one adapter that trains.

    Args:
        part: "unet" or "transformer".
        config: PART/config.json of the model.
        chained: whether the latents also have a gradient.
    """
    with torch.device("meta"):
        model = DENOISERS[part].from_config(config).requires_grad_(False)
        # diffusers' own `to` warns about modules that this model does not have
        nn.Module.to(model, getattr(torch, compute.dtype))
        model.add_adapter(LoraConfig(r=rank, target_modules=list(targets)))
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.data = parameter.data.float()
        dtype, known = getattr(torch, compute.dtype), model.config
        x = torch.empty(1, known.in_channels, *latent_size(config), dtype=dtype, requires_grad=chained)
        arguments = _inputs(part, known, dtype)
        call = _measured(model, lambda: model(x, **arguments), compute)
        adapted = [layer for layer in model.modules() if isinstance(layer, LoraLayer)]
        return replace(
            call,
            trained=sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name),
            folded=sum(layer.get_base_layer().weight.nbytes for layer in adapted),
        )


def _inputs(part: str, known: Any, dtype: torch.dtype) -> dict[str, Any]:
    """The denoiser's inputs besides the latents, for one image and from its config."""
    if part == "transformer":
        return {
            "encoder_hidden_states": torch.empty(
                1, TOKENS + T5_TOKENS, known.joint_attention_dim, dtype=dtype
            ),
            "pooled_projections": torch.empty(1, known.pooled_projection_dim, dtype=dtype),
            "timestep": torch.ones(1),
        }
    arguments: dict[str, Any] = {
        "timestep": torch.tensor(1),
        "encoder_hidden_states": torch.empty(1, TOKENS, known.cross_attention_dim, dtype=dtype),
    }
    if known.addition_embed_type == "text_time":
        pooled = known.projection_class_embeddings_input_dim - 6 * known.addition_time_embed_dim
        arguments["added_cond_kwargs"] = {
            "text_embeds": torch.empty(1, pooled, dtype=dtype),
            "time_ids": torch.empty(1, 6, dtype=dtype),
        }
    return arguments


@once
def decoder(config: Mapping[str, Any], latents: tuple[int, int], compute: Compute) -> ModelCall:
    """A decoding of latents that have a gradient; config: vae/config.json of the model."""
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(dict(config)).requires_grad_(False)
        nn.Module.to(vae, getattr(torch, compute.vae_dtype))
        shape = (1, vae.config.latent_channels, *latents)
        x = torch.empty(shape, dtype=getattr(torch, compute.vae_dtype), requires_grad=True)
        return _measured(vae, lambda: vae.decode(x), compute)


@once
def parameters(config: Mapping[str, Any], kind: type[nn.Module]) -> int:
    """How many weights a model of a config has, with its tables of positions.

    kind: a class of diffusers, or of transformers.
    """
    known: Any = kind
    with torch.device("meta"):
        if issubclass(kind, PreTrainedModel):
            model = known(known.config_class(**config))
        else:
            model = known.from_config(dict(config))
        return sum(tensor.numel() for tensor in [*model.parameters(), *model.buffers()])


def stored_weights(file: Path) -> int:
    """How many weights a safetensors file holds, read from its header. Raises UserError where it is none."""
    try:
        with safe_open(file, "pt") as held:
            return sum(math.prod(held.get_slice(name).get_shape()) for name in held.keys())  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"this is not a whole file of weights: {error}", where=str(file), hint="copy or download it again"
        ) from error


def _measured(model: nn.Module, call: Callable[[], Any], compute: Compute) -> ModelCall:
    with (
        FlopCounterMode(display=False) as flops,
        _Fused() as fused,
        counted_saves(model) as kept,
        _largest_block(model, kept) as largest,
    ):
        call()
    held = sum(kept.values())
    if compute.checkpointing:
        model.enable_gradient_checkpointing()  # type: ignore[operator]
        with _Fused(), counted_saves(model) as kept:
            call()
        held = min(held, sum(kept.values()) + max(largest))
    return ModelCall(flops.get_total_flops() + fused.flops, held)


@contextmanager
def _largest_block(model: nn.Module, kept: Mapping[int, int]) -> Iterator[list[int]]:
    """The bytes that each block adds to `kept`."""
    found: list[int] = []
    began: list[int] = []

    def before(module: nn.Module, _: Any) -> None:
        began.append(sum(kept.values()))

    def after(module: nn.Module, _: Any, out: Any) -> None:
        found.append(sum(kept.values()) - began.pop())

    blocks = [module for module in model.modules() if isinstance(module, BLOCKS)]
    hooks = [block.register_forward_pre_hook(before) for block in blocks]
    hooks += [block.register_forward_hook(after) for block in blocks]
    yield found
    for hook in hooks:
        hook.remove()
