"""Memory that is given back and comes again."""

import sys

import pytest
import torch

from actors.sampler.cpu_sleep import give_back

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is given back elsewhere")


def resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def test_pages_are_given_back_and_come_again_where_they_were():
    whole = torch.ones(64 << 20, dtype=torch.uint8)
    view, place, before = whole[100:].view(torch.float16), whole.data_ptr(), resident_mib()
    give_back([view, whole])
    assert before - resident_mib() > 60
    assert whole.data_ptr() == place
    assert int(whole.count_nonzero()) < 2 * 4096, "the ends, in pages that may have other owners too"
    view.fill_(1.0)
    assert bool((view == 1.0).all())


def test_neighbours_in_a_page_stay_as_they_are():
    tensors = [torch.full((size,), 7, dtype=torch.uint8) for size in (1, 100, 4095, 5000, 70_000) * 20]
    kept = [tensor.clone() for tensor in tensors]
    give_back(tensors[::2])
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(tensors[1::2], kept[1::2], strict=True))
    give_back([torch.empty(0)])
