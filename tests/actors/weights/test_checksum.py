"""A checksum sees what happens to weights on their way."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actors.weights.checksum import Checksum


def sum_of(tensor: torch.Tensor) -> tuple[Checksum, Checksum]:
    """Return both kinds."""
    return Checksum.of(tensor), Checksum.of(tensor, is_for_gpus=True)


def all_differ(some: tuple[Checksum, Checksum], others: tuple[Checksum, Checksum]) -> bool:
    return all(one != other for one, other in zip(some, others, strict=True))


@given(st.lists(st.floats(width=32), min_size=1, max_size=50), st.integers(0, 49), st.integers(0, 31))
def test_it_sees_every_bit(values: list[float], place: int, bit: int):
    tensor = torch.tensor(values)
    changed = tensor.clone()
    changed.view(torch.int32)[place % len(values)] ^= 1 << bit if bit < 31 else -(1 << 31)
    assert all_differ(sum_of(tensor), sum_of(changed))
    assert sum_of(tensor) == sum_of(tensor.clone())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (4096, 3), (70_001,)])
def test_it_depends_on_the_bits_alone(shape: tuple[int, ...], dtype: str):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    padded = torch.cat([tensor.flatten()[:1], tensor.flatten()])[1:]  # elsewhere in its memory
    assert sum_of(padded) == sum_of(tensor) == sum_of(tensor.reshape(-1))
    if tensor.dim() > 1:
        assert all_differ(sum_of(tensor.t()), sum_of(tensor))


@pytest.mark.parametrize("distance", [1, 4096, 50_000])
def test_it_sees_what_changed_places(distance: int):
    tensor = torch.randn(70_000, generator=torch.Generator().manual_seed(1))
    changed = tensor.clone()
    changed[0], changed[distance] = tensor[distance], tensor[0]
    assert all_differ(sum_of(changed), sum_of(tensor))
    assert all_differ(sum_of(tensor.roll(distance)), sum_of(tensor))
