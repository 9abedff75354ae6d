"""Batches hold requests of one kind, the oldest kind first, and no more than fit."""

import asyncio
import threading

import pytest

from actors.generator.batcher import Batcher


def play(items, run=None, *, max_batch_size=4, wait_s=0.0):
    """Submit (kind, value) items at once; return results and the batches that ran."""
    batches = []

    def record(values):
        batches.append(list(values))
        return (run or (lambda values: [value * 10 for value in values]))(values)

    async def scenario():
        batcher = Batcher(record, max_batch_size=max_batch_size, wait_s=wait_s)
        done = await asyncio.gather(*(batcher.submit(*item) for item in items), return_exceptions=True)
        return [getattr(one, "result", one) for one in done]

    return asyncio.run(scenario()), batches


def test_requests_are_grouped_by_kind_oldest_first():
    results, batches = play([("a", 1), ("b", 2), ("a", 3), ("b", 4), ("a", 5), ("a", 6), ("a", 7)])
    assert results == [10, 20, 30, 40, 50, 60, 70]
    assert batches == [[1, 3, 5, 6], [2, 4], [7]]


def test_a_batch_that_is_not_full_waits_a_moment_for_more():
    async def scenario():
        batcher = Batcher(list, max_batch_size=4, wait_s=0.05)
        waiting = asyncio.create_task(batcher.submit("a", 1))
        await asyncio.sleep(0)
        second = await batcher.submit("a", 2)
        return await waiting, second

    first, second = asyncio.run(scenario())
    assert (first.batch_size, second.batch_size) == (2, 2)
    assert 0 < second.queue_s < first.queue_s


def test_a_failing_batch_fails_its_requests_and_no_others():
    def run(values):
        if "bad" in values:
            raise MemoryError("too large")
        return values

    results, _ = play([("a", "bad"), ("a", "too"), ("b", "good")], run)
    assert [type(result) for result in results] == [MemoryError, MemoryError, str]


def test_one_result_of_a_batch_may_be_an_error():
    results, _ = play([("a", 1), ("a", 2)], lambda values: [ValueError("no"), 20])
    assert isinstance(results[0], ValueError)
    assert results[1] == 20


def test_a_cancelled_request_leaves_the_queue():
    ran, release = [], threading.Event()

    def run(values):
        ran.append(list(values))
        release.wait(5)
        return values

    async def scenario():
        batcher = Batcher(run, max_batch_size=1, wait_s=0.0)
        tasks = [asyncio.create_task(batcher.submit("a", value)) for value in range(3)]
        await asyncio.sleep(0.02)
        tasks[1].cancel()
        await asyncio.sleep(0)
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        return [(await tasks[index]).result for index in (0, 2)]

    assert asyncio.run(scenario()) == [0, 2]
    assert ran == [[0], [2]]
