"""Load buckets into vLLM's model and compare the result with what was sent."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from actors.weights.wire import BaseTensor, Bucket, Manifest, checksum

_SHOWN = 5


class WeightReceiver:
    """One publish on the receiving side; make a new one for each."""

    def __init__(self) -> None:
        self._received: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    @torch.no_grad()
    def load(self, model: torch.nn.Module, bucket: Bucket) -> None:
        """Load one bucket; checksums are computed from the bytes that arrived, not taken from the sender."""
        live, weights = LiveWeights(model, self._shapes), []
        device = next(model.parameters()).device
        for info, tensor in bucket.tensors():
            tensor = tensor.to(device, copy=True)
            self._received[info.name] = checksum(tensor)
            self._shapes[info.name] = info.shape
            # vLLM refuses a tied head without its embedding, which may be in another bucket.
            if not live.is_alias(info.name):
                weights.append((info.name, tensor))
        model.load_weights(iter(weights))

    def problems(self, model: torch.nn.Module, manifest: Manifest) -> list[str]:
        """Return what differs from `manifest`, in the transfer and in the live parameters; empty if nothing does."""
        sent = manifest.checksums
        found = [
            _problem("never arrived", sent.keys() - self._received.keys()),
            _problem("were not announced", self._received.keys() - sent.keys()),
            _problem("arrived damaged", {name for name in sent if self._received.get(name, sent[name]) != sent[name]}),
            _problem("differ in the engine", self._stale(model, manifest)),
        ]
        return [problem for problem in found if problem]

    def coverage(self, model: torch.nn.Module, manifest: Manifest) -> float:
        """Return the share of the policy's tensors that can be found in the live model."""
        live = self._live(model, manifest)
        names = self._shapes.keys() | manifest.already_loaded.keys()
        return sum(live.find(name) is not None for name in names) / max(1, len(names))

    def _stale(self, model: torch.nn.Module, manifest: Manifest) -> set[str]:
        """Return the names whose live parameter does not have the policy's bits."""
        live = self._live(model, manifest)
        wanted = {name: origin.checksum for name, origin in manifest.already_loaded.items()} | dict(manifest.checksums)
        tensors = ((name, live.find(name)) for name in wanted)
        return {name for name, tensor in tensors if tensor is not None and checksum(tensor) != wanted[name]}

    def _live(self, model: torch.nn.Module, manifest: Manifest) -> LiveWeights:
        return LiveWeights(
            model, {name: origin.shape for name, origin in manifest.already_loaded.items()} | self._shapes
        )


def missing_tensors(model: torch.nn.Module, origins: Mapping[str, BaseTensor]) -> set[str]:
    """Return the names of untrained tensors that the live model lacks, or has where they cannot be compared."""
    live = LiveWeights(model, {name: origin.shape for name, origin in origins.items()})
    tensors = ((name, live.find(name)) for name, origin in origins.items() if not origin.is_trained)
    return {name for name, tensor in tensors if tensor is None or checksum(tensor) != origins[name].checksum}


class LiveWeights:
    """Finds a Hugging Face tensor in vLLM's model: renamed, and perhaps a slice of a fused parameter."""

    def __init__(self, model: torch.nn.Module, shapes: Mapping[str, tuple[int, ...]]):
        # Tied parameters are listed under both names, so that the head is compared too.
        self._parameters = dict(model.named_parameters(remove_duplicate=False))
        self._aliases = self._parameters.keys() - dict(model.named_parameters()).keys()
        self._mapper = getattr(model, "hf_to_vllm_mapper", None)
        self._fused = {
            part: (fused, parts)
            for fused, parts in getattr(model, "packed_modules_mapping", {}).items()
            for part in parts
            if part != fused
        }
        self._shapes = shapes

    def is_alias(self, name: str) -> bool:
        """Return whether the name is a second one for another parameter, as for a tied head."""
        return self._rename(name) in self._aliases

    def find(self, name: str) -> torch.Tensor | None:
        """Return the live tensor in the shape that was sent; None if the layout does not allow it."""
        shape = self._shapes.get(name)
        if shape is None:
            return None
        words = name.split(".")
        part = next((word for word in words if word in self._fused), None)
        offset = 0
        if part is not None:
            fused, parts = self._fused[part]
            for earlier in parts[: parts.index(part)]:
                if (before := self._shapes.get(name.replace(part, earlier))) is None:
                    return None
                offset += before[0]
            name = name.replace(part, fused)
        parameter = self._parameters.get(self._rename(name))
        return None if parameter is None else _slice(parameter, offset, shape)

    def _rename(self, name: str) -> str:
        renamed = self._mapper.apply_list([name]) if self._mapper is not None else [name]
        return renamed[0] if renamed else name


def _slice(parameter: torch.Tensor, offset: int, shape: tuple[int, ...]) -> torch.Tensor | None:
    """Slice `shape` out of a parameter that is fused or padded along its first dimension, or only reshaped."""
    if parameter.dim() == len(shape) and parameter.shape[1:] == shape[1:] and offset + shape[0] <= parameter.shape[0]:
        return parameter[offset : offset + shape[0]]
    if offset == 0 and parameter.numel() == torch.Size(shape).numel():
        return parameter.reshape(shape)
    return None


def _problem(verdict: str, names: set[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{len(names)} tensors {verdict}: {shown}" + (", ..." if len(names) > _SHOWN else "")
