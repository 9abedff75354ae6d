"""What is sent: tensors under their Hugging Face names, packed into buckets, each tensor with a checksum."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

_CHUNK = 1 << 22
_PERIOD = 65521


@dataclass(frozen=True)
class TensorInfo:
    """A tensor in transfer: where its bytes are in the bucket, and their checksum."""

    name: str
    shape: tuple[int, ...]
    offset: int
    num_bytes: int
    checksum: int


@dataclass(frozen=True)
class Bucket:
    """Several tensors of one dtype as one block of bytes, which Ray passes on without a copy."""

    dtype: str
    infos: tuple[TensorInfo, ...]
    data: np.ndarray
    """uint8."""

    def tensors(self) -> Iterator[tuple[TensorInfo, torch.Tensor]]:
        """Yield each tensor as a view of `data`, which may be read-only: copy what is to be kept or changed."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            block = torch.from_numpy(self.data)
        for info in self.infos:
            part = block[info.offset : info.offset + info.num_bytes]
            yield info, part.view(getattr(torch, self.dtype)).reshape(info.shape)


@dataclass(frozen=True)
class BaseTensor:
    """A tensor as it was before training."""

    shape: tuple[int, ...]
    checksum: int
    is_trained: bool
    """It is trained, so it differs by now."""


@dataclass(frozen=True)
class Manifest:
    """What was sent: name -> checksum."""

    checksums: Mapping[str, int] = field(default_factory=dict)
    num_bytes: int = 0
    already_loaded: Mapping[str, BaseTensor] = field(default_factory=dict)
    """What the engines had already."""


def checksum(tensor: torch.Tensor) -> int:
    """Return a position-sensitive 64-bit sum of a tensor's bits, computed on its own device.

    Each word is weighted by its position modulo a prime, so that swapped or shifted values differ.

    >>> a, b = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])
    >>> checksum(a) == checksum(a.clone()), checksum(a) == checksum(b)
    (True, False)
    """
    words = tensor.detach().contiguous().flatten().view(torch.uint8)
    if words.numel() % 4 == 0:
        words = words.view(torch.int32)
    total = torch.zeros((), dtype=torch.int64, device=words.device)
    for start in range(0, words.numel(), _CHUNK):
        chunk = words[start : start + _CHUNK].to(torch.int64)
        places = torch.arange(start, start + chunk.numel(), device=words.device) % _PERIOD + 1
        total += (chunk * places).sum()
    return int(total)


def buckets(weights: Iterable[tuple[str, torch.Tensor]], dtype: str, bucket_bytes: int) -> Iterator[Bucket]:
    """Pack (name, tensor) pairs, cast to `dtype`, into buckets of about `bucket_bytes`."""
    infos: list[TensorInfo] = []
    casts: list[torch.Tensor] = []
    size = 0
    for name, tensor in weights:
        cast = tensor.detach().to(getattr(torch, dtype)).contiguous()
        infos.append(TensorInfo(name, tuple(cast.shape), size, cast.nbytes, checksum(cast)))
        casts.append(cast)
        size += cast.nbytes
        if size >= bucket_bytes:
            yield _packed(dtype, infos, casts)
            infos, casts, size = [], [], 0
    if infos:
        yield _packed(dtype, infos, casts)


def _packed(dtype: str, infos: Sequence[TensorInfo], casts: Sequence[torch.Tensor]) -> Bucket:
    """Copy tensors from their device into one block, each exactly once."""
    data = np.empty(infos[-1].offset + infos[-1].num_bytes, np.uint8)
    block = torch.from_numpy(data)
    for info, cast in zip(infos, casts, strict=True):
        block[info.offset : info.offset + info.num_bytes].copy_(cast.flatten().view(torch.uint8))
    return Bucket(dtype, tuple(infos), data)
