"""The ranks' side of a publish: rank 0 sends, the others only iterate, since gathering a tensor is a collective."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from actors.weights.wire import BaseTensor, Manifest, buckets, checksum

_IN_FLIGHT = 2


def describe_base_tensors(
    weights: Iterable[tuple[str, torch.Tensor]], trained: Collection[str], dtype: str, *, is_sender: bool
) -> dict[str, BaseTensor]:
    """Describe (name, tensor) pairs, cast to `dtype`; without `is_sender` only iterate, because of the collectives."""
    origins = {}
    for name, tensor in weights:
        if is_sender:
            cast = tensor.to(getattr(torch, dtype))
            origins[name] = BaseTensor(tuple(cast.shape), checksum(cast), name in trained)
    return origins


def push(
    weights: Iterable[tuple[str, torch.Tensor]], receivers: Sequence[Any] | None, dtype: str, bucket_bytes: int
) -> Manifest:
    """Send weights to the engine actors `receivers`; None: only iterate, because of the collectives."""
    if receivers is None:
        for _ in weights:
            pass
        return Manifest()
    checksums: dict[str, int] = {}
    num_bytes = 0
    pending: list[list[Any]] = []
    weights = iter(weights)
    try:
        for bucket in buckets(weights, dtype, bucket_bytes):
            checksums |= {info.name: info.checksum for info in bucket.infos}
            num_bytes += bucket.data.nbytes
            reference = ray.put(bucket)
            pending.append([receiver.load_bucket.remote(reference) for receiver in receivers])
            if len(pending) >= _IN_FLIGHT:
                ray.get(pending.pop(0))
    except RayError:
        for _ in weights:  # the other ranks still gather with this one
            pass
        raise
    for replies in pending:
        ray.get(replies)
    return Manifest(checksums, num_bytes)
