"""Hand the policy's weights to the samplers and make sure that they arrived.

Rank 0 packs full tensors under their Hugging Face names into buckets, which travel through Ray's object
store to every sampler; all ranks iterate, since gathering a tensor is a collective. Three checks, each of
which catches what the others cannot:

- per-tensor checksums: what the engine was told to load, and what its live parameters are afterwards,
  against what the policy sent (a lost or damaged bucket, a weight loader that skipped something);
- the version, stamped inside the engine after the load;
- a greedy probe: log-probabilities of the sampler's own tokens under the policy (stale caches, a stale
  tied head: right weights, wrong results).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
import torch

_CHUNK = 1 << 22
_PERIOD = 65521
_IN_FLIGHT = 2


@dataclass(frozen=True)
class TensorInfo:
    """A tensor on its way: where its bytes are in the bucket, and what they sum to."""

    name: str
    shape: tuple[int, ...]
    offset: int
    num_bytes: int
    checksum: int


@dataclass(frozen=True)
class Bucket:
    """Several tensors of one dtype as one block of bytes, which Ray hands over without a copy."""

    dtype: str
    infos: tuple[TensorInfo, ...]
    data: np.ndarray
    """uint8."""

    def tensors(self) -> Iterator[tuple[TensorInfo, torch.Tensor]]:
        """Yield each tensor, as a copy that may be kept."""
        for info in self.infos:
            # `bytearray`: a block from the object store is read-only, which torch does not know of.
            block = bytearray(self.data[info.offset : info.offset + info.num_bytes])
            yield info, torch.frombuffer(block, dtype=getattr(torch, self.dtype)).reshape(info.shape)


@dataclass(frozen=True)
class Manifest:
    """What was sent: name -> checksum."""

    checksums: Mapping[str, int] = field(default_factory=dict)
    num_bytes: int = 0


def checksum(tensor: torch.Tensor) -> int:
    """Return a position-sensitive 64-bit sum of a tensor's bits, computed on its own device.

    Each 8-bit word is weighted by its place modulo a prime, so that swapped or shifted values differ.

    >>> a, b = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])
    >>> checksum(a) == checksum(a.clone()), checksum(a) == checksum(b)
    (True, False)
    """
    words = tensor.detach().contiguous().flatten().view(torch.uint8)
    total = torch.zeros((), dtype=torch.int64, device=words.device)
    for start in range(0, words.numel(), _CHUNK):
        chunk = words[start : start + _CHUNK].to(torch.int64)
        places = torch.arange(start, start + chunk.numel(), device=words.device) % _PERIOD + 1
        total += (chunk * places).sum()
    return int(total)


def buckets(weights: Iterable[tuple[str, torch.Tensor]], dtype: str, bucket_bytes: int) -> Iterator[Bucket]:
    """Pack (name, tensor) pairs, cast to `dtype`, into buckets of about `bucket_bytes`."""
    infos: list[TensorInfo] = []
    blocks: list[np.ndarray] = []
    size = 0
    for name, tensor in weights:
        cast = tensor.detach().to(getattr(torch, dtype)).contiguous()
        block = cast.cpu().flatten().view(torch.uint8).numpy()
        infos.append(TensorInfo(name, tuple(cast.shape), size, block.nbytes, checksum(cast)))
        blocks.append(block)
        size += block.nbytes
        if size >= bucket_bytes:
            yield Bucket(dtype, tuple(infos), np.concatenate(blocks))
            infos, blocks, size = [], [], 0
    if infos:
        yield Bucket(dtype, tuple(infos), np.concatenate(blocks))


def push(
    weights: Iterable[tuple[str, torch.Tensor]], receivers: Sequence[Any] | None, dtype: str, bucket_bytes: int
) -> Manifest:
    """Send weights to the engine actors `receivers`; None: only iterate, for the sake of the collectives."""
    if receivers is None:
        for _ in weights:
            pass
        return Manifest()
    checksums: dict[str, int] = {}
    num_bytes = 0
    pending: list[list[Any]] = []
    for bucket in buckets(weights, dtype, bucket_bytes):
        checksums |= {info.name: info.checksum for info in bucket.infos}
        num_bytes += bucket.data.nbytes
        reference = ray.put(bucket)
        pending.append([receiver.load_bucket.remote(reference) for receiver in receivers])
        if len(pending) >= _IN_FLIGHT:
            ray.get(pending.pop(0))
    for replies in pending:
        ray.get(replies)
    return Manifest(checksums, num_bytes)
