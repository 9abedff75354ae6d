"""A checksum sees what happens to weights on their way."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actors.weights.checksum import checksum


@given(st.lists(st.floats(width=32), min_size=1, max_size=50), st.integers(0, 49), st.integers(0, 31))
def test_it_sees_every_bit(values: list[float], place: int, bit: int):
    tensor = torch.tensor(values)
    changed = tensor.clone()
    changed.view(torch.int32)[place % len(values)] ^= 1 << bit if bit < 31 else -(1 << 31)
    assert checksum(tensor) != checksum(changed)
    assert checksum(tensor) == checksum(tensor.clone())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (4096, 3), (70_001,)])
def test_it_depends_on_the_bits_alone(shape: tuple[int, ...], dtype: str):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    padded = torch.cat([tensor.flatten()[:1], tensor.flatten()])[1:]  # elsewhere in its memory
    assert checksum(padded) == checksum(tensor) == checksum(tensor.reshape(-1))
    if tensor.dim() > 1:
        assert checksum(tensor.t()) != checksum(tensor)


@pytest.mark.parametrize("distance", [1, 4096, 50_000])
def test_it_sees_what_changed_places(distance: int):
    tensor = torch.randn(70_000, generator=torch.Generator().manual_seed(1))
    changed = tensor.clone()
    changed[0], changed[distance] = tensor[distance], tensor[0]
    assert checksum(changed) != checksum(tensor)
    assert checksum(tensor.roll(distance)) != checksum(tensor)
