"""The LoRA adapters of a denoiser: which exist, which are active, and which train.

The layers are PEFT's, inserted by diffusers. This module adds exact control of requires_grad, refuses changes while
an autograd graph is open, and folds adapters into the weights.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import safetensors.torch
import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ril_bench.diffusion.adapter_spec import AdapterSpec
from ril_bench.diffusion.folding import LoraFactors, folded_layers, parts_of_file
from ril_bench.diffusion.layer_inputs import second_moments
from ril_bench.diffusion.open_graphs import GraphWatch
from ril_bench.draws import Key, generator
from ril_bench.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
#: names that torch's containers of layers use themselves
_TAKEN = {*dir(nn.ModuleDict()), *dir(nn.ParameterDict())}


class Adapters:
    """The adapters of a denoiser whose own weights are frozen; `DiffusionModel` is the subclass in use.

    Args:
        denoiser: a UNet or a transformer of diffusers.
        prefix: the prefix of every key in a LoRA file of the denoiser, such as "unet.".
    """

    def __init__(self, denoiser: Any, spec: AdapterSpec, prefix: str):
        self.denoiser = denoiser
        self.spec = spec
        self._prefix = prefix
        self._adapters: dict[str, AdapterSpec] = {}
        self._active: dict[str, float] = {}
        self._trained: list[str] = []
        self._layers: dict[str, LoraLayer] = {}  # path in the denoiser -> PEFT's layer
        self._folded = False
        self.changes = 0  # of which adapters exist, are active or train
        self._graphs = GraphWatch()

    # -- which exist -----------------------------------------------------------------------------------------

    @property
    def adapters(self) -> dict[str, AdapterSpec]:
        """All adapters by name, in the order in which they were added."""
        return dict(self._adapters)

    def add_adapter(self, name: str, *, seed_key: tuple[Key, ...], rank: int | None = None) -> None:
        """Adds an adapter, inactive and frozen, which changes nothing before it is trained.

        B is zero, and A ~ U(-1/sqrt(d), 1/sqrt(d)), where d is the layer's input width, as in PEFT [code: peft]. A is
        drawn from the key (seed_key, name, layer), so every machine gets the same weights.

        Args:
            name: name of the adapter, such as "task-1".
            seed_key: key of the random weights; methods use `task.key`.
            rank: replaces the sequence's rank; alpha / rank stays the same.

        Raises:
            ValueError: an adapter of that name exists already.
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
        """Removes an adapter and its weights.

        Raises ValueError if there is no such adapter, RuntimeError while a graph is open.
        """
        self._known([name])
        self._refuse_changes("delete an adapter")
        with warnings.catch_warnings():
            # PEFT makes another adapter active; `_apply` restores the right ones.
            warnings.filterwarnings("ignore", "Adapter .* was active which is now deleted")
            self.denoiser.delete_adapters(name)
        del self._adapters[name]
        self._active.pop(name, None)
        self._trained = [other for other in self._trained if other != name]
        self._apply()

    def _inject(self, name: str, spec: AdapterSpec) -> None:
        if not (isinstance(name, str) and _NAME.fullmatch(name)) or name in _TAKEN:
            raise UserError(
                f"an adapter cannot be called {name!r}",
                where="add_adapter",
                hint="use letters, digits, - and _, and no name that a torch module has, as task-1",
            )
        if name in self._adapters:
            raise ValueError(f"an adapter called {name!r} exists already")
        self._refuse_changes("add an adapter")
        self._check_targets(spec.targets)
        config = LoraConfig(r=spec.rank, lora_alpha=spec.alpha, target_modules=list(spec.targets))
        with warnings.catch_warnings():
            # Several adapters are intended.
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            self.denoiser.add_adapter(config, adapter_name=name)
        self._layers = {
            path: module for path, module in self.denoiser.named_modules() if isinstance(module, LoraLayer)
        }
        for layer in self._layers.values():  # adapters stay in fp32 over a half-precision denoiser
            layer.lora_A[name].float()
            layer.lora_B[name].float()
        self._adapters[name] = spec
        self._apply()

    def _check_targets(self, targets: Sequence[str]) -> None:
        # PEFT accepts a target without a layer if another target has one.
        layers = {f".{path}": module for path, module in self.denoiser.named_modules()}
        for target in targets:
            found = [module for path, module in layers.items() if path.endswith(f".{target}")]
            if not found or not all(isinstance(module, nn.Linear | LoraLayer) for module in found):
                raise UserError(
                    f"the denoiser has no linear layer called {target!r}",
                    where="adapter.targets",
                    hint="name linear layers of the denoiser, such as [to_q, to_k, to_v, to_out.0]",
                )

    # -- which are active and which train --------------------------------------------------------------------

    @property
    def active(self) -> dict[str, float]:
        """The active adapters, each with its scale, in the order in which they are summed."""
        return dict(self._active)

    @property
    def trained(self) -> list[str]:
        """The names of the adapters that train."""
        return list(self._trained)

    def activate(self, scales: Mapping[str, float], train: Sequence[str] = ()) -> None:
        """Makes exactly these adapters active, at these scales, and trains exactly those in `train`.

        Use only this method for both: the setters of PEFT and diffusers make a frozen adapter trainable again.

        Raises:
            ValueError: an adapter is unknown, or in `train` but not active.
            RuntimeError: a graph is open; its backward would run with other adapters than its forward.
        """
        self._known(scales)
        self._refuse_changes("activate adapters")
        if idle := [name for name in train if name not in scales]:
            raise ValueError(f"adapters {idle} would train without being active")
        self._active = {name: float(scale) for name, scale in scales.items()}
        self._trained = list(dict.fromkeys(train))
        self._apply()

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that train: the factors of the trained adapters, in a fixed order."""
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
        """Returns x; until its graph is freed or has run backward, changes of adapters raise RuntimeError."""
        return self._graphs.watched(x)

    def _apply(self) -> None:
        self.changes += 1
        for layer in self._layers.values():
            layer.set_adapter(list(self._active))
            for name, scale in self._active.items():
                layer.set_scale(name, scale)
        for name in self._adapters:
            for parameter in self.adapter_parameters(name).values():
                parameter.requires_grad_(name in self._trained)
                if name not in self._trained:
                    # Its optimizer no longer exists, so nothing else would clear the gradient.
                    parameter.grad = None

    def _known(self, names: Sequence[str] | Mapping[str, float]) -> None:
        if unknown := [name for name in names if name not in self._adapters]:
            raise ValueError(f"no adapter is called {', '.join(unknown)}; there are: {list(self._adapters)}")

    def _refuse_changes(self, what: str) -> None:
        if self._graphs.open:
            raise RuntimeError(f"cannot {what} while a graph is open: run it backward, or drop it, first")
        if self._folded:
            raise RuntimeError(f"cannot {what} while adapters are folded into the weights")

    # -- folding ---------------------------------------------------------------------------------------------

    @property
    def is_folded(self) -> bool:
        """Whether the model is inside a `folded` or `folded_lora` context."""
        return self._folded

    @torch.no_grad()
    def delta(self, name: str) -> dict[str, Tensor]:
        """The change of each layer's weight by an adapter at scale 1: {layer: alpha / r B A, (out, in)}, fp32.

        Without a gradient; that of the factors is in `adapter_parameters`.
        """
        self._known([name])
        spec = self._adapters[name]
        factors = {path: _weights(layer, name) for path, layer in self._layers.items()}
        return {path: spec.alpha / spec.rank * (up @ down) for path, (down, up) in factors.items()}

    @property
    def is_unchanged(self) -> bool:
        """Whether the active adapters change no weight, so that the model is the pretrained one."""
        return not any(bool(delta.any()) for name in self._active for delta in self.delta(name).values())

    @torch.no_grad()
    def set_delta(self, name: str, deltas: Mapping[str, Tensor]) -> None:
        """Sets an adapter's factors so that its delta at scale 1 is nearest to `deltas`.

        `deltas` is {layer: (out, in)}. The nearest delta of the adapter's rank, in the Frobenius norm, comes from a
        singular value decomposition (Eckart & Young 1936). It is exact where the adapter's rank is at least the rank
        of the given delta. Raises RuntimeError while a graph is open.
        """
        self._refuse_changes("set an adapter's weights")
        spec = self._adapters[name]
        for path, layer in self._layers.items():
            down, up = _weights(layer, name)
            U, S, V = torch.linalg.svd(deltas[path].float() * spec.rank / spec.alpha, full_matrices=False)
            root, k = S.sqrt(), min(spec.rank, len(S))
            down.zero_()[:k] = root[:k, None] * V[:k]
            up.zero_()[:, :k] = U[:, :k] * root[:k]

    def add_delta(self, name: str, deltas: Mapping[str, Tensor]) -> None:
        """Adds an adapter, inactive and frozen, whose delta at scale 1 is `deltas`, {layer: (out, in)}.

        Its rank is the largest rank of these matrices, so the delta is exact up to rounding. A merged delta may have
        a much higher rank than the adapters that it was merged from. Raises as `add_adapter` does.
        """
        rank = max(1, *(int(torch.linalg.matrix_rank(delta.float())) for delta in deltas.values()))
        self._inject(name, replace(self.spec, rank=rank, alpha=self.spec.alpha * rank / self.spec.rank))
        self.set_delta(name, deltas)

    def input_moments(self) -> AbstractContextManager[dict[str, Tensor]]:
        """A context that yields {layer: sum of x x^T, (in, in), fp32} over the inputs x of each layer with adapters.

        Each token of each call counts. Only calls with live adapters count, such as those of `task.states`; calls on
        folded weights do not.
        """
        return second_moments(self._layers)

    @contextmanager
    def folded(
        self, scales: Mapping[str, float] | None = None, deltas: Mapping[str, Tensor] | None = None
    ) -> Iterator[None]:
        """A context in which the LoRA layers have the weights W + sum_i scale_i alpha_i / r_i B_i A_i.

        The denoiser then runs at the speed of the plain model, without gradient for the adapters. Frozen copies
        replace the layers. The layers themselves do not change: afterwards they are the same to the bit, and a graph
        that was open before can still run backward.

        Args:
            scales: the adapters to fold; None for the active adapters, {} for the pretrained model.
            deltas: {layer: (out, in)}, added on top. The average of several adapters is an average of deltas, not of
                factors.

        Raises:
            ValueError: an adapter is unknown.
            RuntimeError: the model is folded already.
        """
        scales = self._active if scales is None else scales
        self._known(scales)
        with self._replacing(self._parts(scales), deltas or {}):
            yield

    @contextmanager
    def folded_lora(self, state: Mapping[str, Tensor]) -> Iterator[None]:
        """Like `folded`, but with the tensors of a LoRA file (see `joined`), not the model's adapters.

        Raises UserError where the tensors do not fit this denoiser.
        """
        with self._replacing(parts_of_file(self.denoiser, self._layers, state, self._prefix), {}):
            yield

    def folded_once(self) -> AbstractContextManager[None]:
        """`folded()`, or a context without effect where the model is folded already."""
        return nullcontext() if self._folded else self.folded()

    def _parts(self, scales: Mapping[str, float]) -> dict[str, list[LoraFactors]]:
        return {
            path: [
                (scale * self._adapters[name].alpha / self._adapters[name].rank, *_weights(layer, name))
                for name, scale in scales.items()
            ]
            for path, layer in self._layers.items()
        }

    @contextmanager
    def _replacing(
        self, parts: Mapping[str, Sequence[LoraFactors]], deltas: Mapping[str, Tensor]
    ) -> Iterator[None]:
        if self._folded:
            raise RuntimeError("adapters are folded into the weights already")
        with folded_layers(self.denoiser, parts, deltas):
            self._folded = True
            try:
                yield
            finally:
                self._folded = False

    # -- files and resumes -----------------------------------------------------------------------------------

    def joined(self) -> dict[str, Tensor]:
        """ONE LoRA that equals the sum of the active adapters, as tensors on the CPU.

        It is empty where no adapter is active. The ranks add up: A is stacked, and scale * alpha / rank * B is put
        side by side. This is exact; an average of factors is not. The keys are those of diffusers' save_lora_weights.
        There is no alpha; diffusers then uses a scaling of 1.
        """
        state = {}
        for path, part in self._parts(self._active).items():
            if part:
                down = torch.cat([down.detach() for _, down, _ in part])
                up = torch.cat([scaling * up.detach() for scaling, _, up in part], dim=1)
                state[f"{self._prefix}{path}.lora_A.weight"] = down.cpu()
                state[f"{self._prefix}{path}.lora_B.weight"] = up.cpu()
        return state

    def lora_bytes(self) -> bytes:
        """`joined()` as the bytes of a safetensors file that `pipe.load_lora_weights` opens."""
        return safetensors.torch.save(self.joined(), metadata={"format": "pt"})

    def adapter_state(self) -> dict[str, Any]:
        """The adapters as plain values and tensors (copies, on the CPU), for a checkpoint."""
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
            # A list, as the adapters are summed in this order.
            "active": [[name, scale] for name, scale in self._active.items()],
            "trained": list(self._trained),
        }

    def load_adapter_state(self, state: Mapping[str, Any]) -> None:
        """Replaces all adapters with those of an `adapter_state`.

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
                    hint="resume with the model that the run began with",
                )
            with torch.no_grad():
                for key, parameter in parameters.items():
                    parameter.copy_(saved["weights"][key])
        self.activate(dict(state["active"]), train=state["trained"])


def _weights(layer: LoraLayer, name: str) -> tuple[nn.Parameter, nn.Parameter]:
    return layer.lora_A[name].weight, layer.lora_B[name].weight
