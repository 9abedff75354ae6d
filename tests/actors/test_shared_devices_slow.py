"""Ray itself: who shares a bundle has the same GPU. Slow: it starts Ray, with two GPUs that are not there."""

from tempfile import TemporaryDirectory

import pytest
import ray

from actors.config import PolicyConfig
from actors.shared_devices import reserve, spread_over

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with TemporaryDirectory(prefix="ray-") as folder:  # in pytest's own folder the paths of sockets would be too long
        ray.init("local", num_cpus=8, num_gpus=2, include_dashboard=False, _temp_dir=folder)
        yield
        ray.shutdown()


def gpus_in(strategies, num_gpus: float) -> list[list[int]]:
    """Return which GPUs Ray gives to actors that stay until they are all there."""

    class Seer:
        def gpus(self) -> list[int]:
            return ray.get_gpu_ids()

    options = {"num_cpus": 0.5, "num_gpus": num_gpus}
    seers = [ray.remote(Seer).options(**options, scheduling_strategy=strategy).remote() for strategy in strategies]
    found: list[list[int]] = ray.get([seer.gpus.remote() for seer in seers], timeout=120)
    return found


def test_a_rank_and_the_sampler_beside_it_have_the_same_gpu():
    devices = reserve(PolicyConfig(model="m", num_ranks=2, gpus_per_rank=1), is_shared=True)
    places = devices.places()
    ranks, samplers = places[:2], spread_over(devices, 2)
    found = gpus_in([*ranks, *samplers], devices.gpus_each)
    assert found[:2] == found[2:]
    assert sorted(found[:2]) == [[0], [1]]
    for group in devices.groups:
        ray.util.remove_placement_group(group)


def test_a_share_leaves_room_for_a_generator():
    devices = reserve(PolicyConfig(model="m", num_ranks=1, gpus_per_rank=0.6), is_shared=True)
    rank, sampler = gpus_in([devices.places()[0]] * 2, devices.gpus_each)
    assert rank == sampler
    assert len(gpus_in(["DEFAULT"] * 3, 0.4)) == 3, "one beside them, two on the other GPU"


def test_too_few_gpus_are_told():
    with pytest.raises(ValueError, match=r"policy\.num_ranks=3 needs 3 GPUs, and Ray has 2"):
        reserve(PolicyConfig(model="m", num_ranks=3, gpus_per_rank=1))
