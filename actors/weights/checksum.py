"""Checksums that run where a tensor is, in one pass at the speed of its memory."""

from dataclasses import dataclass

import torch
import xxhash

_ROW = 4096
"""64-bit words that are weighted by the same row of multipliers."""
_ROWS_AT_ONCE = 2048
"""Rows of a temporary product: 64 MiB."""
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX = 0xBF58476D1CE4E5B9 - (1 << 64)
_multipliers: dict[torch.device, torch.Tensor] = {}


@dataclass(frozen=True)
class Checksum:
    """64 bits that stand for those of a tensor and for their places.

    >>> a, b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3.0, 2.0, 1.0])
    >>> Checksum.of(a).matches(a.clone()), Checksum.of(a).matches(b)
    (True, False)
    """

    value: int
    is_for_gpus: bool = False

    @classmethod
    def of(cls, tensor: torch.Tensor, *, is_for_gpus: bool = False) -> "Checksum":
        """Compute it; `is_for_gpus`: as a GPU can, because one of both sides is one. Else it is XXH3."""
        compute = _sum_of_words if is_for_gpus else _xxh3
        return cls(compute(tensor.detach()), is_for_gpus)

    def matches(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor has the same bits."""
        return Checksum.of(tensor, is_for_gpus=self.is_for_gpus) == self


def _xxh3(tensor: torch.Tensor) -> int:
    return xxhash.xxh3_64_intdigest(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())


def _sum_of_words(tensor: torch.Tensor) -> int:
    """Return a sum of 64-bit words in which places count.

    Every word is multiplied by an odd number of its own within a row, so that any changed word changes the row's sum;
    the rows' sums are mixed with their places (as splitmix64 does) before they are added up. It does not see two words
    of one row whose highest bit alone changes.
    """
    words = _words(tensor)
    multipliers = _multipliers_on(words.device)
    whole = words.numel() // _ROW * _ROW
    sums = [_row_sums(words[:whole].view(-1, _ROW), multipliers)]
    if whole < words.numel():
        sums.append((words[whole:] * multipliers[: words.numel() - whole]).sum()[None])
    mixed = torch.cat(sums)
    mixed = mixed + torch.arange(1, len(mixed) + 1, device=words.device) * _GOLDEN
    mixed = (mixed ^ (mixed >> 29)) * _MIX
    return int((mixed ^ (mixed >> 32)).sum())


def _words(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor's bits as 64-bit words, without a copy where its length and place in memory allow it."""
    data = tensor.contiguous().view(-1).view(torch.uint8)
    if missing := -data.numel() % 8:
        data = torch.nn.functional.pad(data, (0, missing))
    elif data.storage_offset() % 8:
        data = data.clone()
    return data.view(torch.int64)


def _row_sums(rows: torch.Tensor, multipliers: torch.Tensor) -> torch.Tensor:
    # CUDA multiplies no matrices of integers.
    parts = [(part * multipliers).sum(1) for part in rows.split(_ROWS_AT_ONCE)]
    return torch.cat(parts) if parts else rows.sum(1)


def _multipliers_on(device: torch.device) -> torch.Tensor:
    if device not in _multipliers:
        words = torch.arange(1, _ROW + 1) * _GOLDEN
        words = (words ^ (words >> 30)) * _MIX
        _multipliers[device] = ((words ^ (words >> 27)) | 1).to(device)
    return _multipliers[device]
