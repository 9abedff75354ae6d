"""What a pool tells Serve about its size, and a pool without Serve."""

import asyncio

import pytest

from actors.pool import Pool, _scale


def test_a_pool_has_one_size_unless_it_has_bounds():
    assert _scale(3, None, 32) == {"num_replicas": 3}
    scaling = _scale(2, (1, 8), 32)["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["initial_replicas"], scaling["max_replicas"]) == (1, 2, 8)
    assert scaling["target_ongoing_requests"] == 8
    assert _scale(1, (1, 2), 2)["autoscaling_config"]["target_ongoing_requests"] == 1


def test_a_replica_that_could_not_be_made_is_made_at_the_next_call():
    tries = []

    def make():
        tries.append(1)
        if len(tries) == 1:
            raise OSError("the disk is away")

        async def answer(word):
            return word

        return answer

    async def scenario():
        pool = Pool(make)
        with pytest.raises(OSError, match="away"):
            await pool._ask_local(("a",))
        return await pool._ask_local(("b",))

    assert asyncio.run(scenario()) == "b"
