"""Where a Hugging Face tensor is in a live vLLM model: renamed, in a fused parameter, or a shard of either.

A layer that can hold an adapter is wrapped by vLLM: its own weight is that of its `base_layer`, and the adapter's two
matrices are in slots, which are larger where vLLM knows no such rank.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Part:
    """What a worker holds of a tensor: ranges (start, length) along one dimension; no ranges: all of it."""

    dim: int = 0
    ranges: tuple[tuple[int, int], ...] = ()

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Cut the part out of a whole tensor."""
        if not self.ranges:
            return tensor
        return torch.cat([tensor.narrow(self.dim, start, length) for start, length in self.ranges], self.dim)

    @property
    def length(self) -> int:
        return sum(length for _, length in self.ranges)


WHOLE = Part()
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
"""Ends of the names of an adapter's matrices, (rank, inputs) and (outputs, rank), as in peft's files."""
_BASE = ".base_layer"


def is_adapter(name: str) -> bool:
    """Return whether a name is that of a matrix of an adapter."""
    return name.endswith((DOWN, UP))


def layer_of(name: str) -> str:
    """Return the name of the layer that a matrix of an adapter belongs to."""
    return name.removesuffix(DOWN).removesuffix(UP)


class LiveWeights:
    """Finds tensors in a model, and writes to them where they are."""

    def __init__(self, model: torch.nn.Module, shapes: Mapping[str, tuple[int, ...]]):
        """`shapes` are those of the whole tensors."""
        # Tied parameters are listed under both names, so that the head is compared too.
        self._parameters = {_plain(name): one for name, one in model.named_parameters(remove_duplicate=False)}
        self._aliases = self._parameters.keys() - {_plain(name) for name, _ in model.named_parameters()}
        modules = dict(model.named_modules(remove_duplicate=False))
        self._adapted = {name: one for name, one in modules.items() if hasattr(one, "lora_a_stacked")}
        self._modules = {_plain(name): one for name, one in modules.items()}  # what is wrapped replaces its wrapper
        self._mapper = getattr(model, "hf_to_vllm_mapper", None)
        self._fused = {
            part: (fused, parts)
            for fused, parts in getattr(model, "packed_modules_mapping", {}).items()
            for part in parts
            if part != fused
        }
        self._shapes = shapes
        self._found: dict[str, tuple[Part, torch.Tensor] | None] = {}

    def is_alias(self, name: str) -> bool:
        """Return whether the name is a second one for another parameter, as for a tied head."""
        return self._rename(name) in self._aliases

    def find(self, name: str) -> tuple[Part, torch.Tensor] | None:
        """Return what this worker holds of a tensor, as a view in its shape; None if the layout is not known."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> tuple[Part, torch.Tensor] | None:
        shape = self._shapes.get(name)
        if shape is None:
            return None
        if is_adapter(name):
            return self._find_adapter(name, shape)
        words = name.split(".")
        part = next((word for word in words if word in self._fused), None)
        earlier: list[tuple[int, ...]] = []
        live_name, position = name, None
        if part is not None:
            fused, parts = self._fused[part]
            position = parts.index(part)
            for other in parts[:position]:
                if (before := self._shapes.get(name.replace(part, other))) is None:
                    return None
                earlier.append(before)
            live_name = name.replace(part, fused)
        live_name = self._rename(live_name)
        parameter = self._parameters.get(live_name)
        if parameter is None:
            return None
        layout = _Layout(self._modules.get(live_name.rpartition(".")[0]))
        offset = sum(layout.rows(before[0], index).length for index, before in enumerate(earlier))
        return _found(layout, parameter, offset, shape, position)

    def _find_adapter(self, name: str, shape: tuple[int, ...]) -> tuple[Part, torch.Tensor] | None:
        parent, _, leaf = layer_of(name).rpartition(".")
        fused, parts = self._fused.get(leaf, (leaf, [leaf]))
        live_name = self._rename(f"{parent}.{fused}.weight").removesuffix(".weight")
        if (wrapper := self._adapted.get(live_name)) is None:
            return None
        slots = wrapper.lora_a_stacked if name.endswith(DOWN) else wrapper.lora_b_stacked
        if len(slots) != len(parts):
            return None
        position = parts.index(leaf)
        slot, layout = slots[position][0, 0], _Layout(self._modules.get(live_name))
        if name.endswith(DOWN):
            return _found(layout, slot[: shape[0]], 0, shape, None)
        return _found(layout, slot[:, : shape[1]], 0, shape, position if len(parts) > 1 else None)

    def _rename(self, name: str) -> str:
        renamed = self._mapper.apply_list([name]) if self._mapper is not None else [name]
        return renamed[0] if renamed else name


class _Layout:
    """How a layer of vLLM is sharded by tensor parallelism."""

    def __init__(self, layer: torch.nn.Module | None):
        self._size = int(getattr(layer, "tp_size", 1))
        self._rank = int(getattr(layer, "tp_rank", 0))
        self._replicas = int(getattr(layer, "num_kv_head_replicas", 1))
        self._shard = getattr(layer, "shard_indices", None)
        self._sizes = list(getattr(layer, "output_sizes", []))

    def rows(self, num_rows: int, position: int | None) -> Part:
        """Return which rows of a tensor are here; `position` is its place in a fused parameter."""
        if self._size == 1:
            return Part(0, ((0, num_rows),))
        if self._shard is not None:
            first, end = self._shard.org_vocab_start_index, self._shard.org_vocab_end_index
            return Part(0, ((first, end - first),))
        if position is None and len(self._sizes) > 1 and sum(self._sizes) == num_rows:
            return Part(0, tuple(self._split(size, before, index) for index, size, before in self._fused_sizes()))
        return Part(0, (self._split(num_rows, 0, position),))

    def columns(self, num_columns: int) -> Part:
        """Return which columns are here."""
        return Part(1, (self._split(num_columns, 0, None),))

    def _fused_sizes(self) -> Iterator[tuple[int, int, int]]:
        before = 0
        for index, size in enumerate(self._sizes):
            yield index, size, before
            before += size

    def _split(self, size: int, before: int, position: int | None) -> tuple[int, int]:
        # The heads of keys and values are repeated where there are fewer than workers.
        replicas = self._replicas if position else 1
        length = size * replicas // self._size
        return before + self._rank // replicas * length, length


def _found(
    layout: _Layout, parameter: torch.Tensor, offset: int, shape: tuple[int, ...], position: int | None
) -> tuple[Part, torch.Tensor] | None:
    """Return part and view of a parameter that is fused or padded along its first dimension, or only reshaped."""
    if parameter.dim() == len(shape) > 0 and parameter.shape[1:] == shape[1:]:
        rows = layout.rows(shape[0], position)
        if position is None and parameter.shape[0] == shape[0]:
            rows = WHOLE  # not sharded, whatever the layer is
        length = rows.length or shape[0]
        if offset + length > parameter.shape[0]:
            return None
        return (WHOLE if length == shape[0] else rows), parameter[offset : offset + length]
    if parameter.dim() == len(shape) == 2 and parameter.shape[0] == shape[0]:
        columns = layout.columns(shape[1])
        return (columns, parameter) if columns.length == parameter.shape[1] else None
    if offset == 0 and parameter.numel() == torch.Size(shape).numel() and parameter.is_contiguous():
        return WHOLE, parameter.view(shape)
    return None


def write_rows(view: torch.Tensor, part: Part, start: int, rows: torch.Tensor) -> None:
    """Write whole rows of a tensor, from row `start` on, to what a worker holds of it; `rows` is two-dimensional."""
    live = view.view(len(view), -1) if view.dim() else view.view(1, 1)
    end, at = start + len(rows), 0
    for first, length in part.ranges or ((0, len(live)),):
        if part.dim == 0:
            low, high = max(first, start), min(first + length, end)
            if low < high:
                live[at + low - first : at + high - first].copy_(rows[low - start : high - start])
        else:
            live[start:end, at : at + length].copy_(rows[:, first : first + length])
        at += length


def write_places(view: torch.Tensor, part: Part, width: int, places: torch.Tensor, values: torch.Tensor) -> None:
    """Write values to places of the flattened tensor, whose rows have `width` elements; others' places are skipped."""
    live = view.view(len(view), -1) if view.dim() else view.view(1, 1)
    if not part.ranges and live.is_contiguous():
        live.view(-1)[places] = values
        return
    rows, columns = places // width, places % width
    along, at = (columns if part.dim else rows), 0
    for first, length in part.ranges or ((0, len(live)),):
        mine = (along >= first) & (along < first + length)
        shifted = along[mine] - first + at
        index = (rows[mine], shifted) if part.dim else (shifted, columns[mine])
        live[index] = values[mine]
        at += length


def _plain(name: str) -> str:
    """Return a module's or a parameter's name as it would be without adapters."""
    return name.replace(f"{_BASE}.", ".").removesuffix(_BASE)
