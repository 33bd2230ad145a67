"""The LoRA adapters of a UNet: which exist, which act, which train, and what they add up to.

The layers are PEFT's, put in place by diffusers; this module adds what they leave to chance: exact
requires_grad, a refusal while a graph is open, and folding into the weights.
"""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import safetensors.torch
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ril_bench.diffusion.folding import PREFIX, Part, parts_of_file, twins
from ril_bench.draws import Key, generator
from ril_bench.errors import UserError


@dataclass(frozen=True)
class AdapterSpec:
    """A LoRA adapter's shape: its delta is alpha / rank * B A, on every linear layer that a target names."""

    rank: int
    alpha: float
    targets: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))


class _Token:
    """Stands for one open graph; weakly referenced, so a graph that is dropped takes it along."""


class _Watch(torch.autograd.Function):
    """The identity; its graph node owns a token until it is freed or has been run backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, open_graphs: weakref.WeakSet[_Token]) -> Tensor:
        ctx.token, ctx.open_graphs = _Token(), open_graphs
        open_graphs.add(ctx.token)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.open_graphs.discard(ctx.token)
        return gradient, None


class Adapters:
    """The adapters of `unet`, whose own weights are frozen."""

    def __init__(self, unet: UNet2DConditionModel, spec: AdapterSpec):
        self.unet = unet
        self.spec = spec
        self._adapters: dict[str, AdapterSpec] = {}
        self._active: dict[str, float] = {}
        self._trained: list[str] = []
        self._layers: dict[str, LoraLayer] = {}  # path in the UNet -> PEFT's layer
        self._folded = False
        self._open_graphs: weakref.WeakSet[_Token] = weakref.WeakSet()

    # -- which exist -----------------------------------------------------------------------------------------

    @property
    def adapters(self) -> dict[str, AdapterSpec]:
        """Every adapter there is, in the order they were added."""
        return dict(self._adapters)

    def add_adapter(self, name: str, *, seed_key: tuple[Key, ...], rank: int | None = None) -> None:
        """Add an adapter, inactive and frozen, that changes nothing yet: B is zero, A is drawn from the key.

        A ~ U(-1/sqrt(d), 1/sqrt(d)), d the layer's input width, as PEFT draws it [code: peft]; keyed by
        (seed_key, name, layer), so every machine gets the same. Another rank keeps alpha / rank.

        Raises:
            ValueError: the name is taken.
            RuntimeError: a graph is open.
            UserError: a target names no linear layer.
        """
        spec = self.spec
        if rank is not None:
            spec = replace(spec, rank=rank, alpha=spec.alpha * rank / spec.rank)
        self._inject(name, spec)
        with torch.no_grad():
            for path, layer in self._layers.items():
                down, up = _weights(layer, name)
                bound = 1 / math.sqrt(down.shape[1])
                draw = generator(seed_key, name, path).uniform(-bound, bound, tuple(down.shape))
                down.copy_(torch.from_numpy(draw))
                up.zero_()

    def delete_adapter(self, name: str) -> None:
        """Remove an adapter and its weights.

        Raises ValueError if there is none, RuntimeError while a graph is open.
        """
        self._known([name])
        self._refuse_changes("delete an adapter")
        self.unet.delete_adapters(name)
        del self._adapters[name]
        self._active.pop(name, None)
        self._trained = [other for other in self._trained if other != name]
        self._apply()  # PEFT would choose another adapter to be active

    def _inject(self, name: str, spec: AdapterSpec) -> None:
        if name in self._adapters:
            raise ValueError(f"an adapter called {name!r} exists already")
        self._refuse_changes("add an adapter")
        self._check_targets(spec.targets)
        config = LoraConfig(r=spec.rank, lora_alpha=spec.alpha, target_modules=list(spec.targets))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are meant
            self.unet.add_adapter(config, adapter_name=name)
        self._layers = {
            path: module for path, module in self.unet.named_modules() if isinstance(module, LoraLayer)
        }
        for layer in self._layers.values():  # adapters stay in fp32 over a half-precision denoiser
            layer.lora_A[name].float()
            layer.lora_B[name].float()
        self._adapters[name] = spec
        self._apply()

    def _check_targets(self, targets: Sequence[str]) -> None:
        # PEFT overlooks a target without a layer as long as another one has some.
        layers = {f".{path}": module for path, module in self.unet.named_modules()}
        for target in targets:
            found = [module for path, module in layers.items() if path.endswith(f".{target}")]
            if not found or not all(isinstance(module, nn.Linear | LoraLayer) for module in found):
                raise UserError(
                    f"the denoiser has no linear layer called {target!r}",
                    where="adapter.targets",
                    hint="name linear layers of the denoiser, such as [to_q, to_k, to_v, to_out.0]",
                )

    # -- which act and which train ---------------------------------------------------------------------------

    @property
    def active(self) -> dict[str, float]:
        """The adapters that act, each with its scale."""
        return dict(self._active)

    @property
    def trained(self) -> list[str]:
        """The adapters that train."""
        return list(self._trained)

    def activate(self, scales: Mapping[str, float], train: Sequence[str] = ()) -> None:
        """Let these adapters act, at these scales, and train exactly those in `train`.

        The only place that changes either: PEFT's and diffusers' own setters make a frozen adapter trainable
        again.

        Raises:
            ValueError: an unknown adapter, or one that trains without acting.
            RuntimeError: a graph is open; its backward would meet other adapters than its forward.
        """
        self._known(scales)
        self._refuse_changes("activate adapters")
        if idle := [name for name in train if name not in scales]:
            raise ValueError(f"adapters {idle} would train without being active")
        self._active = {name: float(scale) for name, scale in scales.items()}
        self._trained = list(dict.fromkeys(train))
        self._apply()

    def parameters(self) -> list[nn.Parameter]:
        """What trains: the factors of the trained adapters, in a fixed order."""
        return [parameter for name in self._trained for parameter in self.adapter_parameters(name).values()]

    def adapter_parameters(self, name: str) -> dict[str, nn.Parameter]:
        """The factors of one adapter: "LAYER.lora_A.weight" (rank, in), "LAYER.lora_B.weight" (out, rank)."""
        self._known([name])
        return {
            f"{path}.{factor}.weight": weight
            for path, layer in self._layers.items()
            for factor, weight in zip(("lora_A", "lora_B"), _weights(layer, name), strict=True)
        }

    def watch(self, x: Tensor) -> Tensor:
        """x itself; until its graph is freed or has been run backward, no adapter can be changed."""
        return _Watch.apply(x, self._open_graphs) if x.requires_grad else x

    def _apply(self) -> None:
        for layer in self._layers.values():
            layer.set_adapter(list(self._active))
            for name, scale in self._active.items():
                layer.set_scale(name, scale)
        for name in self._adapters:
            for parameter in self.adapter_parameters(name).values():
                parameter.requires_grad_(name in self._trained)
                if name not in self._trained:
                    parameter.grad = None  # its optimizer is gone: nobody else would clear it

    def _known(self, names: Sequence[str] | Mapping[str, float]) -> None:
        if unknown := [name for name in names if name not in self._adapters]:
            raise ValueError(f"no adapter is called {', '.join(unknown)}; there are: {list(self._adapters)}")

    def _refuse_changes(self, what: str) -> None:
        if self._open_graphs:
            raise RuntimeError(f"cannot {what} while a graph is open: run it backward, or drop it, first")
        if self._folded:
            raise RuntimeError(f"cannot {what} while adapters are folded into the weights")

    # -- folding ---------------------------------------------------------------------------------------------

    @property
    def is_folded(self) -> bool:
        """Whether a `folded` or `folded_lora` is in force."""
        return self._folded

    @torch.no_grad()
    def delta(self, name: str) -> dict[str, Tensor]:
        """What an adapter at scale 1 adds to each layer's weight: {layer: alpha / r B A, (out, in)}, fp32."""
        self._known([name])
        spec = self._adapters[name]
        factors = {path: _weights(layer, name) for path, layer in self._layers.items()}
        return {path: spec.alpha / spec.rank * (up @ down) for path, (down, up) in factors.items()}

    @torch.no_grad()
    def set_delta(self, name: str, deltas: Mapping[str, Tensor]) -> None:
        """Give an adapter the factors of its rank that come nearest to {layer: (out, in)}, at scale 1.

        Nearest in the Frobenius norm, by a singular value decomposition (Eckart & Young 1936): exact where the rank
        suffices. Raises RuntimeError while a graph is open.
        """
        self._refuse_changes("set an adapter's weights")
        spec = self._adapters[name]
        for path, layer in self._layers.items():
            down, up = _weights(layer, name)
            U, S, V = torch.linalg.svd(deltas[path].float() * spec.rank / spec.alpha, full_matrices=False)
            root, k = S.sqrt(), min(spec.rank, len(S))
            down.zero_()[:k] = root[:k, None] * V[:k]
            up.zero_()[:, :k] = U[:, :k] * root[:k]

    @contextmanager
    def folded(
        self, scales: Mapping[str, float] | None = None, deltas: Mapping[str, Tensor] | None = None
    ) -> Iterator[None]:
        """Denoise at the plain model's speed, on W + sum_i scale_i alpha_i / r_i B_i A_i for LoRA layers.

        None folds what is active, {} leaves the pretrained model; `deltas` {layer: (out, in)} are added on
        top (an average of adapters is one of deltas, not of factors). Frozen twins of the layers stand in and
        the layers themselves are not touched, so they come back to the bit, and a graph that was open before
        runs backward as if nothing had been. Raises RuntimeError when folded already.
        """
        scales = self._active if scales is None else scales
        self._known(scales)
        with self._stand_in(self._parts(scales), deltas or {}):
            yield

    @contextmanager
    def folded_lora(self, state: Mapping[str, Tensor]) -> Iterator[None]:
        """As `folded`, of a file's tensors as `joined` gives them; the model's own adapters do not act.

        Raises UserError where the file is not of this denoiser.
        """
        with self._stand_in(parts_of_file(self.unet, self._layers, state), {}):
            yield

    def folded_once(self) -> AbstractContextManager[None]:
        """`folded()`, or nothing where a `folded` is in force already."""
        return nullcontext() if self._folded else self.folded()

    def _parts(self, scales: Mapping[str, float]) -> dict[str, list[Part]]:
        return {
            path: [
                (scale * self._adapters[name].alpha / self._adapters[name].rank, *_weights(layer, name))
                for name, scale in scales.items()
            ]
            for path, layer in self._layers.items()
        }

    @contextmanager
    def _stand_in(self, parts: Mapping[str, Sequence[Part]], deltas: Mapping[str, Tensor]) -> Iterator[None]:
        if self._folded:
            raise RuntimeError("adapters are folded into the weights already")
        with twins(self.unet, parts, deltas):
            self._folded = True
            try:
                yield
            finally:
                self._folded = False

    # -- files and resumes -----------------------------------------------------------------------------------

    def joined(self) -> dict[str, Tensor]:
        """ONE LoRA equal to the sum of the active adapters; empty where none is active.

        Joined by rank, A stacked and scale * alpha / rank * B side by side, which is exact where an average
        of factors is not. Keys as diffusers' save_lora_weights writes them; no alpha, which diffusers reads
        as a scaling of 1.
        """
        state = {}
        for path, part in self._parts(self._active).items():
            if part:
                down = torch.cat([down.detach() for _, down, _ in part])
                up = torch.cat([scaling * up.detach() for scaling, _, up in part], dim=1)
                state[f"{PREFIX}{path}.lora_A.weight"] = down.cpu()
                state[f"{PREFIX}{path}.lora_B.weight"] = up.cpu()
        return state

    def write_lora(self) -> bytes:
        """`joined()` as the bytes of a safetensors file that `pipe.load_lora_weights` opens."""
        return safetensors.torch.save(self.joined(), metadata={"format": "pt"})

    def adapter_state(self) -> dict[str, Any]:
        """All that a resume needs of the adapters, as plain values and tensors (copies, on the CPU)."""
        return {
            "adapters": [
                {
                    "name": name,
                    "rank": spec.rank,
                    "alpha": spec.alpha,
                    "weights": {
                        k: p.detach().cpu().clone() for k, p in self.adapter_parameters(name).items()
                    },
                }
                for name, spec in self._adapters.items()
            ],
            # lists: the adapters are summed in their order
            "active": [[name, scale] for name, scale in self._active.items()],
            "trained": list(self._trained),
        }

    def load_adapter_state(self, state: Mapping[str, Any]) -> None:
        """Put the adapters of an `adapter_state` in the place of all there are.

        Raises UserError where they do not fit.
        """
        for name in list(self._adapters):
            self.delete_adapter(name)
        for saved in state["adapters"]:
            self._inject(saved["name"], replace(self.spec, rank=saved["rank"], alpha=saved["alpha"]))
            parameters = self.adapter_parameters(saved["name"])
            shapes = {key: parameter.shape for key, parameter in parameters.items()}
            if {key: weight.shape for key, weight in saved["weights"].items()} != shapes:
                raise UserError(
                    f"the weights of adapter {saved['name']!r} do not fit the denoiser",
                    hint="resume with the model that the run was started with",
                )
            with torch.no_grad():
                for key, parameter in parameters.items():
                    parameter.copy_(saved["weights"][key])
        self.activate(dict(state["active"]), train=state["trained"])


def _weights(layer: LoraLayer, name: str) -> tuple[nn.Parameter, nn.Parameter]:
    return layer.lora_A[name].weight, layer.lora_B[name].weight
