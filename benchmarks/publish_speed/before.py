"""Publishing as it was before: buckets through Ray's object store, and three passes of a slow checksum."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch

from actors.weights.live import LiveWeights

_CHUNK, _PERIOD = 1 << 22, 65521
_BUCKET, _IN_FLIGHT = 256 << 20, 2
Bucket = tuple[list[tuple[str, tuple[int, ...], int, int]], np.ndarray]
"""Name, shape, first byte and number of bytes of each tensor, and all their bytes."""


def checksum(tensor: torch.Tensor) -> int:
    """Return a sum of a tensor's bits, each word weighted by its place."""
    words = tensor.detach().contiguous().flatten().view(torch.uint8).view(torch.int32)
    total = torch.zeros((), dtype=torch.int64)
    for start in range(0, words.numel(), _CHUNK):
        chunk = words[start : start + _CHUNK].to(torch.int64)
        total += (chunk * (torch.arange(start, start + len(chunk)) % _PERIOD + 1)).sum()
    return int(total)


def push(weights: Mapping[str, torch.Tensor], receiver: Any) -> dict[str, int]:
    """Send weights to an actor and return their checksums."""
    sums, pending, waiting, size = {}, [], [], 0
    for name, tensor in weights.items():
        sums[name] = checksum(tensor)
        waiting.append((name, tensor))
        size += tensor.nbytes
        if size >= _BUCKET:
            pending.append(receiver.load_bucket.remote(ray.put(_packed(waiting))))
            waiting, size = [], 0
            if len(pending) >= _IN_FLIGHT:
                ray.get(pending.pop(0))
    if waiting:
        pending.append(receiver.load_bucket.remote(ray.put(_packed(waiting))))
    ray.get(pending)
    return sums


def _packed(tensors: Sequence[tuple[str, torch.Tensor]]) -> Bucket:
    data = np.empty(sum(tensor.nbytes for _, tensor in tensors), np.uint8)
    block, infos, offset = torch.from_numpy(data), [], 0
    for name, tensor in tensors:
        block[offset : offset + tensor.nbytes].copy_(tensor.flatten().view(torch.uint8))
        infos.append((name, tuple(tensor.shape), offset, tensor.nbytes))
        offset += tensor.nbytes
    return infos, data


@torch.no_grad()
def load(model: Any, bucket: Bucket, received: dict[str, int]) -> None:
    """Load a bucket, and note the checksums of what arrived."""
    infos, data = bucket
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        block = torch.from_numpy(data)
    for name, shape, offset, num_bytes in infos:
        tensor = block[offset : offset + num_bytes].view(torch.float32).reshape(shape).clone()
        received[name] = checksum(tensor)
        model.load_weights([(name, tensor)])


def differing(model: torch.nn.Module, sums: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Return the names of tensors whose live parameter differs."""
    live = LiveWeights(model, shapes)
    return {name for name in sums if (found := live.find(name)) is None or checksum(found[1]) != sums[name]}
