"""Weights on their way, without Ray and vLLM: buckets and checksums."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actors.weights.wire import buckets, checksum


@given(st.lists(st.floats(width=32), min_size=1, max_size=50), st.integers(0, 49))
def test_a_checksum_sees_every_bit(values: list[float], place: int):
    tensor = torch.tensor(values)
    changed = tensor.clone()
    bits = changed.view(torch.int32)
    bits[place % len(values)] ^= 1
    assert checksum(tensor) != checksum(changed)
    assert checksum(tensor) == checksum(tensor.clone())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("bucket_bytes", [1, 100, 10_000])
def test_buckets_carry_every_tensor(weights: dict[str, torch.Tensor], dtype: str, bucket_bytes: int):
    packed = list(buckets(weights.items(), dtype, bucket_bytes))
    arrived = {info.name: tensor for bucket in packed for info, tensor in bucket.tensors()}
    assert len(packed) == {1: len(weights), 10_000: 1}.get(bucket_bytes, len(packed))
    for name, tensor in weights.items():
        assert arrived[name].equal(tensor.to(getattr(torch, dtype)))
    for bucket in packed:
        assert all(checksum(tensor) == info.checksum for info, tensor in bucket.tensors())
