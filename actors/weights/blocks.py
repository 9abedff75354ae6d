"""What travels: tensors under their Hugging Face names, cut into pieces that fill blocks of one size.

A block is a tensor of bytes that begins with its own table of contents, so that every transport moves the same thing.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

_TABLE = 1 << 16
"""Bytes at the beginning of a block, for its table: how long it is, then JSON."""
_LENGTH = 8
_ALIGNED = 64
_ENTRY = 160
"""Bytes of the table that an entry takes at most, beside its name."""
MIN_BLOCK = 1 << 20
"""Bytes of the smallest block (`samplers.bucket_mib`)."""


def bytes_of_all(shapes: Mapping[str, tuple[int, ...]], itemsize: int) -> int:
    """Return the size of a block that holds all tensors; one that is larger would be no use."""
    return MIN_BLOCK + sum(_aligned(math.prod(shape) * itemsize) for shape in shapes.values())


class TransferError(RuntimeError):
    """A transfer was broken off on the other side."""


class Channel(Protocol):
    """The sender's end of a transport."""

    name: str
    device: torch.device
    """Where blocks are."""
    block_bytes: int
    """Size of a block."""

    def block(self) -> torch.Tensor:
        """Return the next block to fill, uint8; waits until there is a free one. Raises what a receiver raised."""
        ...

    def commit(self, num_bytes: int) -> None:
        """Send the block's first bytes."""
        ...

    def finish(self) -> None:
        """Return once every receiver has taken every block."""
        ...


@dataclass(frozen=True)
class Piece:
    """Part of a tensor, as it arrives: rows, or changed values."""

    name: str
    start: int
    """First row."""
    values: torch.Tensor
    """The elements of whole rows, one after the other; or as many values as places."""
    places: torch.Tensor | None = None
    """Where in the flattened tensor the values belong, int64; None: they are rows."""


@dataclass(frozen=True)
class _Entry:
    name: str
    start: int
    count: int
    is_delta: bool
    offset: int


class Writer:
    """Fills a channel's blocks."""

    def __init__(self, channel: Channel, dtype: torch.dtype):
        self.num_bytes = 0
        """Bytes of tensors sent."""
        self._channel = channel
        self._itemsize = dtype.itemsize
        self._block: torch.Tensor | None = None
        self._entries: list[_Entry] = []
        self._end = self._table_bytes = 0

    def rows(self, name: str, tensor: torch.Tensor) -> None:
        """Send a whole tensor of the channel's dtype."""
        flat = tensor.contiguous().view(-1)
        num_rows = len(tensor) if tensor.dim() else 1
        width = max(1, flat.numel() // max(1, num_rows))
        start = 0
        while start < num_rows:
            count = min(num_rows - start, self._room(name, width * self._itemsize) // (width * self._itemsize))
            self._add(_Entry(name, start, count, False, self._end), flat[start * width : (start + count) * width])
            start += count

    def changes(self, name: str, places: torch.Tensor, values: torch.Tensor) -> None:
        """Send the values of some places of the flattened tensor."""
        start = 0
        while start < len(places):
            room = self._room(name, 2 * _ALIGNED + 8 + self._itemsize) - 2 * _ALIGNED
            count = min(len(places) - start, room // (8 + self._itemsize))
            entry = _Entry(name, 0, count, True, self._end)
            self._add(entry, places[start : start + count], values[start : start + count])
            start += count

    def end(self) -> None:
        """Send what is left; it is the last block."""
        self._commit(is_last=True)

    def _room(self, name: str, least: int) -> int:
        """Return the bytes that are free in the block, at least `least`; a full block is sent."""
        needed = len(json.dumps(name)) + _ENTRY
        if self._block is not None and (
            self._block.nbytes - self._end < least or self._table_bytes + needed > _TABLE - _ENTRY
        ):
            self._commit(is_last=False)
        if self._block is None:
            self._block, self._end, self._table_bytes = self._channel.block(), _TABLE, 0
        room: int = self._block.nbytes - self._end
        if room < least:
            raise ValueError(f"a row of {name} is larger than a block: raise samplers.bucket_mib")
        self._table_bytes += needed
        return room

    def _add(self, entry: _Entry, *tensors: torch.Tensor) -> None:
        assert self._block is not None
        self._entries.append(entry)
        for tensor in tensors:
            data, size = tensor.view(torch.uint8), tensor.nbytes
            self._block[self._end : self._end + size].copy_(data)
            self._end += _aligned(size)
            self.num_bytes += size

    def _commit(self, *, is_last: bool) -> None:
        block = self._channel.block() if self._block is None else self._block
        entries = [(entry.name, entry.start, entry.count, entry.is_delta, entry.offset) for entry in self._entries]
        text = json.dumps([is_last, entries]).encode()
        table = len(text).to_bytes(_LENGTH, "little") + text
        block[: len(table)].copy_(torch.frombuffer(bytearray(table), dtype=torch.uint8))
        self._channel.commit(min(max(self._end, _TABLE), block.nbytes))
        self._block, self._entries, self._end = None, [], 0


def is_last(block: torch.Tensor) -> bool:
    """Return whether a block is its transfer's last one."""
    return bool(block[_LENGTH + 1].item() == ord("t"))  # of `[true, ...`


def read(block: torch.Tensor, dtype: torch.dtype, widths: Mapping[str, int]) -> Iterator[Piece]:
    """Yield a block's pieces as views of it; `widths` are the elements in a row of each tensor."""
    table = block[:_TABLE].cpu().numpy().data
    _, entries = json.loads(bytes(table[_LENGTH : _LENGTH + int.from_bytes(table[:_LENGTH], "little")]))
    for entry in entries:
        yield _piece(block, _Entry(*entry), dtype, widths)


def _piece(block: torch.Tensor, entry: _Entry, dtype: torch.dtype, widths: Mapping[str, int]) -> Piece:
    if not entry.is_delta:
        num_bytes = entry.count * widths[entry.name] * dtype.itemsize
        return Piece(entry.name, entry.start, block[entry.offset : entry.offset + num_bytes].view(dtype))
    middle = entry.offset + _aligned(8 * entry.count)
    places = block[entry.offset : entry.offset + 8 * entry.count].view(torch.int64)
    return Piece(entry.name, 0, block[middle : middle + entry.count * dtype.itemsize].view(dtype), places)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
