"""Groups of edits over two replicas. Slow: it needs Ray Serve, whose router this is."""

import asyncio
import os

import pytest

from actors.cluster import ray_cluster
from actors.pool import deploy, replica_options, shutdown
from rollout.types import EditRequest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SIZE = 4
"""Of a batch."""
ROUTER = {
    "request_router_class": "actors.generator.group_router.GroupRouter",
    "request_router_kwargs": {"slack": SIZE},
}


class Slow:
    """Says which process answered, after a while."""

    async def __call__(self, request):
        await asyncio.sleep(0.5)
        return os.getpid()

    async def describe(self):
        return "a replica"

    def check_health(self): ...


async def scenario():
    async with ray_cluster("", 4):
        options = replica_options(0.5, 0, 1)
        pool = await deploy("pool", Slow, num_replicas=2, max_ongoing=32, actor_options=options, router=ROUTER)
        try:
            assert await pool.describe() == "a replica"

            async def answered(image, count):
                return await asyncio.gather(*[pool.call(EditRequest(image, "p", number)) for number in range(count)])

            groups = await asyncio.gather(answered("x", SIZE), answered("y", SIZE))
            lone = await answered("z", 3 * SIZE)
            return groups, lone
        finally:
            shutdown()


def test_replicas_get_whole_groups_and_an_idle_one_takes_its_share():
    groups, lone = asyncio.run(scenario())
    assert [len(set(processes)) for processes in groups] == [1, 1]
    assert set(groups[0]) != set(groups[1])
    assert len(set(lone)) == 2
