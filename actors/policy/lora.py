"""LoRA: which layers get an adapter, and the plain model that results from merging base and adapters.

Samplers receive merged weights under their Hugging Face names or, with `samplers.as_adapters`, the model as it was
before training and the adapters' matrices, one of them scaled already. Both ways what they then hold is compared bit by
bit with what was sent. To save traffic, tensors that training does not change are not sent once their checksums show
that the engine has them (`actors/weights/publish.py`).
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from actors.config import ALL_LINEAR, LoraConfig, PolicyConfig

_WRAPPER = "base_model.model."
_BASE = ".base_layer"
_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"
_VISION = r"(.*\.)?visual\..*"
_CHUNK, _PERIOD = 1 << 22, 65521


@dataclass(frozen=True)
class Weight:
    """A tensor of the plain model, and the two matrices of its adapter if it has one; may be sharded."""

    base: torch.Tensor
    down: torch.Tensor | None = None
    """(rank, inputs)."""
    up: torch.Tensor | None = None
    """(outputs, rank)."""

    @property
    def is_adapted(self) -> bool:
        return self.down is not None

    def merged(self, scale: float) -> torch.Tensor:
        """Return the full tensor of base and adapter merged; neither is changed."""
        if self.down is None or self.up is None:
            return full(self.base)
        return torch.addmm(full(self.base), full(self.up), full(self.down), alpha=scale)


def model_settings(config: PolicyConfig) -> dict[str, object]:
    """Return the LoRA settings of verl's model configuration; empty without LoRA."""
    lora = config.lora
    if not lora.rank:
        return {}
    return {
        "lora_rank": lora.rank,
        "lora_alpha": lora.alpha,
        "target_modules": ALL_LINEAR if lora.targets == [ALL_LINEAR] else list(lora.targets),
        "exclude_modules": _VISION if config.freeze_vision else None,
    }


def check_layers(model: torch.nn.Module, lora: LoraConfig) -> None:
    """Raise ValueError if a target names no layer, or one that is not linear and would be merged wrongly."""
    from peft.tuners.lora import LoraLayer  # importing peft takes seconds: only if there are adapters

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
    for target in lora.targets:
        if target != ALL_LINEAR and not any(f".{name}".endswith(f".{target}") for name in layers):
            known = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
            raise ValueError(f"policy.lora.targets: no trained layer is called {target}; those found: {known}")
    for name, layer in layers.items():
        if not isinstance(base := layer.get_base_layer(), torch.nn.Linear):
            raise ValueError(
                f"policy.lora.targets: {name.removeprefix(_WRAPPER)} is a {type(base).__name__}; "
                "expected names of linear layers"
            )


def without_adapters(model: torch.nn.Module) -> AbstractContextManager[None]:
    """Let the model compute what it did before training.

    Adapters are scaled by 0 rather than switched off: peft's switch also freezes them, behind FSDP2's back.
    """
    from peft.helpers import rescale_adapter_scale

    scaled: AbstractContextManager[None] = rescale_adapter_scale(model, 0.0)
    return scaled


def plain_name(name: str) -> str:
    """Return the name that a wrapped model's tensor has in the plain model.

    >>> plain_name("base_model.model.model.visual.pos_embed.weight")
    'model.visual.pos_embed.weight'
    >>> plain_name("base_model.model.model.language_model.layers.0.mlp.up_proj.base_layer.weight")
    'model.language_model.layers.0.mlp.up_proj.weight'
    """
    return name.removeprefix(_WRAPPER).replace(f"{_BASE}.", ".")


def plain_weights(state: Mapping[str, torch.Tensor]) -> dict[str, Weight]:
    """Return the plain model's tensors by name, from the wrapped model's state."""
    weights = {}
    for name, tensor in state.items():
        if name.endswith((_DOWN, _UP)):
            continue
        layer = name.removesuffix(f"{_BASE}.weight")
        weights[plain_name(name)] = Weight(tensor, state.get(layer + _DOWN), state.get(layer + _UP))
    return weights


def merged_weights(
    state: Mapping[str, torch.Tensor], scale: float, skipped: Collection[str] = ()
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the plain model's (name, full tensor) pairs; gathering is a collective, so every rank has to iterate."""
    for name, weight in plain_weights(state).items():
        if name not in skipped:
            yield name, weight.merged(scale)


def separate_weights(state: Mapping[str, torch.Tensor], scale: float) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the adapters' (name, full tensor) pairs as an engine holds them; every rank has to iterate.

    The matrix behind the rank is scaled, as vLLM does when it loads one: its kernels know no scale.
    """
    for name, tensor in state.items():
        if name.endswith((_DOWN, _UP)):
            plain, whole = plain_name(name).replace(".default.", "."), full(tensor)
            yield plain, whole * scale if name.endswith(_UP) else whole


def base_weights(
    state: Mapping[str, torch.Tensor], skipped: Collection[str] = ()
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the (name, full tensor) pairs of the plain model before training; every rank has to iterate."""
    for name, weight in plain_weights(state).items():
        if name not in skipped:
            yield name, full(weight.base)


def adapter_weights(state: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the adapters' (name, full tensor) pairs, named as in peft's files; every rank has to iterate."""
    for name, tensor in state.items():
        if name.endswith((_DOWN, _UP)):
            yield name.replace(".default.", "."), full(tensor)


def full(tensor: torch.Tensor) -> torch.Tensor:
    """Gather a sharded tensor on the ranks' device, wherever its shards are kept."""
    if isinstance(tensor, torch.distributed.tensor.DTensor):
        return tensor.to(tensor.device_mesh.device_type).full_tensor()
    return tensor


def base_digest(config: LoraConfig, weights: Iterable[tuple[str, torch.Tensor]], trained: Collection[str]) -> str:
    """Return a digest of the model that adapters belong to: checkpoints hold it, so it must not change."""
    parts = {name: (_sum(tensor.float()), name in trained) for name, tensor in weights}
    text = json.dumps([config.rank, config.alpha, parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _sum(tensor: torch.Tensor) -> int:
    """Return a sum of a float32 tensor's bits, each word weighted by its place."""
    words = tensor.detach().contiguous().view(-1).view(torch.int32)
    total = torch.zeros((), dtype=torch.int64, device=words.device)
    for start in range(0, words.numel(), _CHUNK):
        chunk = words[start : start + _CHUNK].to(torch.int64)
        total += (chunk * (torch.arange(start, start + len(chunk), device=words.device) % _PERIOD + 1)).sum()
    return int(total)
