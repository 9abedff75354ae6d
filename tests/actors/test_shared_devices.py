"""What is reserved for a policy's ranks, and who shares it."""

from types import SimpleNamespace

import pytest

from actors.config import PolicyConfig
from actors.shared_devices import Devices, bundles_of, spread_over


def test_the_ranks_of_a_node_are_reserved_together():
    config = PolicyConfig(model="m", num_ranks=16, ranks_per_node=8, gpus_per_rank=1)
    nodes = bundles_of(config, 1)
    assert [len(node) for node in nodes] == [8, 8]
    assert nodes[0][0] == {"CPU": 1.0, "GPU": 1.0}
    assert bundles_of(PolicyConfig(model="m", num_ranks=1), 2) == [[{"CPU": 2.0}]]


def test_those_who_take_turns_count_as_one_gpu_together():
    assert Devices((), gpus=1.0, num_sharing=2).gpus_each == 0.5
    assert Devices((), gpus=0.6, num_sharing=2).gpus_each == pytest.approx(0.3)
    assert Devices((), gpus=1.0).gpus_each == 1.0


def test_colocated_samplers_are_on_different_nodes_first(monkeypatch):
    monkeypatch.setattr(
        "actors.shared_devices.PlacementGroupSchedulingStrategy",
        lambda group, bundle, placement_group_capture_child_tasks: (group.name, bundle),
    )
    devices = Devices(tuple(SimpleNamespace(name=name, bundle_count=2) for name in "ab"), 1.0, 2)
    assert spread_over(devices, 3) == [("a", 0), ("b", 0), ("a", 1)]
    assert spread_over(None, 2) == ["SPREAD", "SPREAD"]
