"""What is started once for all processes of a job. Slow: it needs Ray and two processes."""

import asyncio
import os

import pytest
import ray

from actors.cluster import ray_cluster
from actors.started_once import started_once

pytestmark = pytest.mark.slow


@ray.remote
def ask_for(name, make):
    return asyncio.run(started_once(name, make))


def test_the_first_starts_it_and_all_get_it_or_its_error():
    """Real, because it is Ray that keeps names apart when several processes ask at once."""

    async def make():
        await asyncio.sleep(0.5)
        return os.getpid()

    async def fail():
        raise ValueError("no such judge")

    async def run():
        async with ray_cluster("", 2):
            here = await asyncio.gather(started_once("a", make), started_once("a", make))
            there = await asyncio.gather(*(ask_for.remote("a", make) for _ in range(2)))
            assert len({*here, *there}) == 1
            assert here[0] != os.getpid()
            assert await started_once("b", make) != here[0]
            for _ in range(2):
                with pytest.raises(ValueError, match="no such judge"):
                    await started_once("c", fail)

    asyncio.run(run())
