"""Which endpoint is asked, and when: by load, within its limits, away from trouble. On a clock of our own."""

import asyncio

import pytest

from actors.metered.config import EndpointConfig
from actors.metered.endpoints import FIRST_COOLING_S, REFUSED_S, Endpoint, Endpoints, TokenBucket
from actors.metered.retry import Fault

DOWN = Fault("server_error", "HTTP 500")


class Clock:
    """Time that passes when somebody waits for it."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def make(clock, *settings, max_concurrency=2):
    endpoints = [
        Endpoint(f"e{number}", EndpointConfig(**changes), max_concurrency) for number, changes in enumerate(settings)
    ]
    return Endpoints(endpoints, clock), endpoints


def names(*slots):
    return [str(slot) for slot in slots]


async def take_now(endpoints):
    """Return a slot, or None when there is none without waiting."""
    waiting = asyncio.create_task(endpoints.acquire())
    await asyncio.sleep(0.001)
    if waiting.done():
        return waiting.result()
    waiting.cancel()
    return None


async def take(endpoints, clock):
    """Return a slot, letting the clock run for as long as it takes."""
    clock.now += endpoints.wait_s()
    return await endpoints.acquire()


@pytest.mark.parametrize("per_minute", [6, 60, 600, 90000])
def test_no_minute_exceeds_a_limit_and_the_limit_is_used(per_minute):
    bucket, now, taken = TokenBucket(per_minute, now=0.0), 0.0, []
    size = max(1, per_minute // 1000)
    while now < 180:
        if (wait_s := bucket.wait_s(size, now=now)) > 1e-6:
            now += wait_s
            continue
        bucket.acquire(size, now=now)
        taken.append(now)
    in_minutes = [size * sum(start <= moment < start + 60 for moment in taken) for start in range(0, 120, 7)]
    assert max(in_minutes) <= per_minute
    assert min(in_minutes) >= 0.8 * per_minute


def test_a_request_above_the_burst_waits_for_a_full_bucket_and_leaves_a_debt():
    bucket = TokenBucket(600, now=0.0)
    bucket.acquire(100, now=0.0)
    assert bucket.wait_s(100, now=0.0) == pytest.approx(100 / (590 / 60))
    bucket.acquire(-50, now=0.0)
    assert bucket.wait_s(100, now=0.0) == pytest.approx(50 / (590 / 60))


def test_load_is_shared_in_proportion_to_what_each_takes():
    async def scenario():
        endpoints, (small, large) = make(Clock(), {}, {}, max_concurrency=4)
        small.max_concurrency = 2
        slots = [await take_now(endpoints) for _ in range(6)]
        full = await take_now(endpoints)
        endpoints.release(slots[0])
        return names(*slots), full, str(await take_now(endpoints)), large.num_busy

    taken, full, after, num_busy = asyncio.run(scenario())
    assert (taken.count("e0"), taken.count("e1"), num_busy) == (2, 4, 4)
    assert full is None
    assert after == taken[0]


def test_first_come_first_served():
    async def scenario():
        endpoints, _ = make(Clock(), {}, max_concurrency=1)
        held, order = await endpoints.acquire(), []

        async def waiter(number):
            slot = await endpoints.acquire()
            order.append(number)
            endpoints.release(slot)

        waiters = [asyncio.create_task(waiter(number)) for number in range(5)]
        await asyncio.sleep(0.01)
        waiters[1].cancel()
        endpoints.release(held)
        await asyncio.gather(*waiters, return_exceptions=True)
        return order

    assert asyncio.run(scenario()) == [0, 2, 3, 4]


def test_requests_a_minute_hold_for_each_endpoint_by_itself():
    async def scenario():
        clock = Clock()
        endpoints, _ = make(clock, {"requests_per_minute": 60}, {"requests_per_minute": 600}, max_concurrency=99)
        slots = []
        while clock.now < 1006:
            slots.append(await take(endpoints, clock))
        return names(*slots)

    taken = asyncio.run(scenario())
    assert 5 <= taken.count("e0") <= 7
    assert 55 <= taken.count("e1") <= 70


def test_tokens_a_minute_are_reserved_and_settled_by_what_the_server_counted():
    async def scenario():
        clock = Clock()
        endpoints, [endpoint] = make(clock, {"tokens_per_minute": 60_000}, max_concurrency=99)
        began, used = clock.now, 0
        while clock.now < began + 120:
            slot = await take(endpoints, clock)
            slot.used = 500.0
            used += 500
            endpoints.release(slot)
        return used / 2, endpoint.mean_tokens

    per_minute, mean = asyncio.run(scenario())
    assert 50_000 < per_minute <= 61_000
    assert mean == pytest.approx(500, abs=1)


def test_a_request_that_used_no_tokens_gives_them_back():
    async def scenario():
        endpoints, _ = make(Clock(), {"tokens_per_minute": 60_000})
        for _ in range(20):
            endpoints.release(await endpoints.acquire())

    asyncio.run(asyncio.wait_for(scenario(), 1))


@pytest.mark.parametrize("wished_s", [None, 7.0])
def test_another_endpoint_stands_in_until_the_one_in_trouble_has_cooled(wished_s):
    async def scenario():
        clock = Clock()
        endpoints, _ = make(clock, {}, {}, max_concurrency=9)
        slot = await endpoints.acquire()
        moved = endpoints.record_fault(slot, Fault("rate_limit", "", retry_after_s=wished_s))
        assert moved == Fault("rate_limit", "")  # the other one may be asked at once
        meanwhile = [str(await endpoints.acquire()) for _ in range(5)]
        clock.now += (wished_s or FIRST_COOLING_S) - 0.01
        before = str(await endpoints.acquire())
        clock.now += 0.02
        return str(slot), meanwhile, before, str(await endpoints.acquire())

    bad, meanwhile, before, after = asyncio.run(scenario())
    assert bad not in [*meanwhile, before]
    assert after == bad


def test_when_all_cool_the_first_one_to_be_ready_is_waited_for():
    async def scenario():
        clock = Clock()
        endpoints, _ = make(clock, {}, {})
        slots = [await endpoints.acquire(), await endpoints.acquire()]
        for slot, wish in zip(slots, (9.0, 4.0), strict=True):
            endpoints.record_fault(slot, Fault("rate_limit", "", retry_after_s=wish))
        return clock.now, str(slots[1]), str(await take(endpoints, clock)), clock.now

    began, second, taken, now = asyncio.run(scenario())
    assert taken == second
    assert now - began == pytest.approx(4.0, abs=0.05)


def test_nobody_waits_for_an_endpoint_that_wants_an_hour():
    async def scenario():
        clock = Clock()
        endpoints, _ = make(clock, {}, {})
        hour = Fault("rate_limit", "", retry_after_s=3600.0)
        first, second = await endpoints.acquire(), await endpoints.acquire()
        moved, kept = endpoints.record_fault(first, hour), endpoints.record_fault(second, hour)
        asked_at_once = await take_now(endpoints)
        endpoints.record_success(second)
        return moved, kept, asked_at_once, str(second), str(await take_now(endpoints))

    moved, kept, asked_at_once, second, later = asyncio.run(scenario())
    assert (moved.retry_after_s, kept.retry_after_s) == (None, 3600.0)
    assert asked_at_once is not None
    assert later == second


def test_a_single_endpoint_is_left_alone_only_after_two_faults_in_a_row():
    async def scenario():
        endpoints, _ = make(Clock(), {}, max_concurrency=9)
        slot = await endpoints.acquire()
        endpoints.record_fault(slot, DOWN)
        first = await take_now(endpoints)
        endpoints.record_success(slot)
        endpoints.record_fault(slot, DOWN)
        second = await take_now(endpoints)
        endpoints.record_fault(slot, DOWN)
        third = await take_now(endpoints)
        endpoints.record_success(slot)
        return first, second, third, await take_now(endpoints)

    first, second, third, last = asyncio.run(scenario())
    assert None not in (first, second, last)
    assert third is None


def test_cooling_doubles_with_each_fault_in_a_row_and_an_answer_ends_it_unless_the_server_named_a_time():
    async def scenario():
        clock = Clock()
        endpoints, [endpoint, _] = make(clock, {}, {})
        slot = await endpoints.acquire()
        spans = []
        for _ in range(9):
            endpoints.record_fault(slot, DOWN)
            spans.append(endpoint.cool_until - clock.now)
        endpoints.record_success(slot)
        ended = endpoint.cool_until < clock.now
        endpoints.record_fault(slot, Fault("rate_limit", "", retry_after_s=5.0))
        endpoints.record_success(slot)
        return spans, ended, endpoint.cool_until - clock.now

    spans, ended, wished = asyncio.run(scenario())
    assert spans[:4] == [0.5, 1.0, 2.0, 4.0]
    assert spans[-1] == 30.0
    assert ended
    assert wished == 5.0


def test_an_unreadable_answer_is_no_trouble_of_the_endpoint():
    async def scenario():
        endpoints, [endpoint] = make(Clock(), {})
        slot = await endpoints.acquire()
        for _ in range(5):
            endpoints.record_fault(slot, Fault("unreadable", ""))
        return endpoint.num_faults

    assert asyncio.run(scenario()) == 0


def test_what_one_key_is_refused_another_one_may_do_and_a_refused_one_is_tried_again_later():
    async def scenario():
        clock = Clock()
        endpoints, _ = make(clock, {}, {}, max_concurrency=9)
        first, second = await endpoints.acquire(), await endpoints.acquire()
        refused = Fault("unauthorized", "HTTP 401", is_retryable=False)
        moved = endpoints.record_fault(first, refused)
        meanwhile = {str(await endpoints.acquire()) for _ in range(4)}
        final = endpoints.record_fault(second, refused)
        clock.now += REFUSED_S + 1
        later = {str(await endpoints.acquire()) for _ in range(6)}
        return moved, meanwhile, str(second), final, later

    moved, meanwhile, second, final, later = asyncio.run(scenario())
    assert (moved.is_retryable, moved.is_counted, moved.kind) == (True, False, "unauthorized")
    assert meanwhile == {second}
    assert final.is_retryable is False  # nobody is left to try
    assert later == {"e0", "e1"}


def test_what_a_server_says_is_final_is_asked_nowhere_else():
    async def scenario():
        endpoints, _ = make(Clock(), {}, {})
        slot = await endpoints.acquire()
        return [endpoints.record_fault(slot, Fault("server_error", "", one)).is_retryable for one in (True, False)]

    assert asyncio.run(scenario()) == [True, False]


def test_a_spare_is_at_another_endpoint_where_there_is_room_and_nowhere_in_a_queue():
    async def scenario():
        endpoints, _ = make(Clock(), {}, {}, max_concurrency=1)
        slot = await endpoints.acquire()
        spare = endpoints.try_acquire_other(slot)
        queued = asyncio.create_task(endpoints.acquire())
        await asyncio.sleep(0)
        none = endpoints.try_acquire_other(slot)
        queued.cancel()
        single, _ = make(Clock(), {}, max_concurrency=2)
        same = single.try_acquire_other(await single.acquire())
        return str(slot), str(spare), none, str(same)

    slot, spare, none, same = asyncio.run(scenario())
    assert {slot, spare} == {"e0", "e1"}
    assert none is None
    assert same == "e0"
