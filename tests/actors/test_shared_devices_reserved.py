"""Where ranks go, by what Ray would say is free."""

from types import SimpleNamespace

import pytest

from actors import shared_devices
from actors.config import PolicyConfig

HERE = "driver's node"
ON_HERE = {"node:10.0.0.1": 0.001}


class Group:
    """A placement group that Ray has room for, or not."""

    def __init__(self, bundles, strategy, has_room=True):
        self.bundles, self.strategy, self.has_room = bundles, strategy, has_room

    def wait(self, timeout_seconds):
        return self.has_room

    def ready(self):
        return self


@pytest.fixture
def reserve(monkeypatch):
    """Return what reserves places for a policy, given what is free on the driver's node; removed groups are noted."""

    def reserve(free, has_room=True, **policy):
        removed = []

        def make(bundles, strategy):
            return Group(bundles, strategy, has_room or not ON_HERE.keys() & bundles[0].keys())

        monkeypatch.setattr(
            shared_devices, "available_resources_per_node", lambda: {HERE: free, "other": {"CPU": 64.0}}
        )
        monkeypatch.setattr(shared_devices, "placement_group", make)
        monkeypatch.setattr(shared_devices, "remove_placement_group", removed.append)
        return list(shared_devices.reserve(PolicyConfig(model="m", **policy)).groups), removed

    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 99.0, "GPU": 16.0})
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: HERE))
    monkeypatch.setattr("ray.wait", lambda groups, **options: (groups, []))
    return reserve


def test_ranks_are_beside_the_driver_if_there_is_room_for_all(reserve):
    free = {"CPU": 2.0, "node:10.0.0.1": 1.0, "node:__internal_head__": 1.0}
    [group], _ = reserve(free, num_ranks=2)
    assert (group.bundles, group.strategy) == ([{"CPU": 1.0} | ON_HERE] * 2, "STRICT_PACK")
    [group], _ = reserve(free, num_ranks=3)
    assert group.bundles == [{"CPU": 1.0}] * 3


def test_ranks_on_gpus_are_not_on_a_drivers_node_without_them(reserve):
    free = {"CPU": 8.0, "node:10.0.0.1": 1.0}
    [group], _ = reserve(free, num_ranks=2, gpus_per_rank=1)
    assert group.bundles == [{"CPU": 1.0, "GPU": 1.0}] * 2
    [group], _ = reserve(free | {"GPU": 2.0}, num_ranks=2, gpus_per_rank=1)
    assert group.bundles == [{"CPU": 1.0, "GPU": 1.0} | ON_HERE] * 2


def test_more_ranks_than_a_node_takes_are_anywhere(reserve):
    groups, _ = reserve({"CPU": 64.0, "node:10.0.0.1": 1.0}, num_ranks=4, ranks_per_node=2)
    assert [group.bundles for group in groups] == [[{"CPU": 1.0}] * 2] * 2


def test_room_that_is_gone_a_moment_later_is_not_waited_for(reserve):
    [group], [removed] = reserve({"CPU": 2.0, "node:10.0.0.1": 1.0}, has_room=False, num_ranks=2)
    assert removed.bundles == [{"CPU": 1.0} | ON_HERE] * 2
    assert group.bundles == [{"CPU": 1.0}] * 2


def test_without_enough_devices_it_is_said_at_once(reserve):
    with pytest.raises(ValueError, match=r"policy\.num_ranks=17 needs 17 GPUs, and Ray has 16"):
        reserve({}, num_ranks=17, ranks_per_node=17, gpus_per_rank=1)
