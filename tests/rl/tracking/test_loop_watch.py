"""Callbacks that compute for too long are measured and named; waiting is not computing."""

import asyncio
import time

import pytest

from rl.tracking.loop_watch import LoopWatch, watch_loop

pytestmark = pytest.mark.slow  # each watch first collects the garbage of all that the tests before it imported


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def inner() -> None:
    burn(0.06)
    await asyncio.sleep(0)


async def outer() -> None:
    await inner()


def watched(work) -> LoopWatch:
    async def main() -> LoopWatch:
        async with watch_loop() as watch:
            await asyncio.create_task(work())
        return watch

    return asyncio.run(main())


def test_a_callback_that_computes_is_named_with_where_it_is():
    watch = watched(outer)
    assert 60 <= watch.max_ms < 160
    metrics, slow = watch.take()
    assert metrics["driver/max_callback_ms"] == watch.max_ms
    assert metrics["driver/loop_cpu_seconds"] >= 0.06
    assert "ms in outer > inner, which now waits at test_loop_watch.py:" in str(slow[0])
    assert len(slow) == 1


def test_taking_begins_anew_but_the_slowest_of_all_stay():
    watch = watched(outer)
    watch.take()
    metrics, slow = watch.take()
    assert metrics["driver/max_callback_ms"] == 0.0
    assert slow == []
    assert [callback.name.split(",")[0] for callback in watch.slowest()] == ["outer > inner"]


@pytest.mark.parametrize("wait", [lambda: asyncio.sleep(0.06), lambda: asyncio.to_thread(burn, 0.06)])
def test_waiting_and_other_threads_are_not_counted(wait):
    assert watched(wait).max_ms < 30


def test_a_blocking_wait_costs_no_cpu():
    async def block() -> None:
        time.sleep(0.06)

    assert watched(block).max_ms < 30


def test_plain_callbacks_are_named_by_their_function():
    async def main() -> list[str]:
        async with watch_loop() as watch:
            asyncio.get_running_loop().call_soon(burn, 0.06)
            await asyncio.sleep(0)
        return [callback.name for callback in watch.take()[1]]

    assert asyncio.run(main()) == ["burn"]


def test_errors_of_callbacks_reach_their_task_and_the_watch_ends_with_its_block():
    before = asyncio.Handle._run

    async def broken() -> None:
        raise RuntimeError("as ever")

    with pytest.raises(RuntimeError, match="as ever"):
        watched(broken)
    assert asyncio.Handle._run is before
