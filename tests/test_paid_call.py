"""Retries under a deadline, one flight for equal requests, and a cache that outlives the process."""

import asyncio

import pytest

from actors.paid_call import PaidCalls
from actors.retry import CallError, Fault, RetryPolicy, retry
from actors.store import Store

QUICK = RetryPolicy(timeout_s=2.0, num_attempts=3, first_wait_s=0.001, max_wait_s=0.01)


class Service:
    """Answers after its faults are used up; None hangs."""

    def __init__(self, *faults, wait_s=0.0):
        self.faults = list(faults)
        self.wait_s = wait_s
        self.num_calls = 0
        self.num_done = 0

    async def __call__(self):
        self.num_calls += 1
        await asyncio.sleep(self.wait_s)
        if self.faults:
            fault = self.faults.pop(0)
            if fault is None:
                await asyncio.sleep(60)
            raise fault if isinstance(fault, Exception) else CallError(fault)
        self.num_done += 1
        return {"n": self.num_done}


def failing(policy, *faults):
    service = Service(*faults)
    with pytest.raises(CallError) as caught:
        asyncio.run(retry(service, policy))
    return service, caught.value


def test_passing_trouble_is_tried_again():
    service = Service(Fault("server_error", "HTTP 500"), OSError("reset"))
    seen = []
    assert asyncio.run(retry(service, QUICK, seen.append)) == {"n": 1}
    assert [fault.kind for fault in seen] == ["server_error", "OSError"]


def test_it_gives_up_after_the_last_attempt_and_says_why():
    service, error = failing(QUICK, *[Fault("rate_limit", "HTTP 429")] * 9)
    assert service.num_calls == 3
    assert error.fault.kind == "rate_limit"
    assert "attempts: 3" in str(error)


def test_a_hopeless_fault_is_not_tried_again():
    service, _ = failing(QUICK, Fault("unauthorized", "HTTP 401", is_retryable=False))
    assert service.num_calls == 1


def test_a_replica_that_dies_does_not_use_up_an_attempt():
    lost = Fault("replica_lost", "died", is_counted=False)
    assert asyncio.run(retry(Service(*[lost] * 8), QUICK)) == {"n": 1}


def test_an_attempt_that_hangs_leaves_time_for_another():
    policy = RetryPolicy(timeout_s=0.2, num_attempts=3, first_wait_s=0.001)
    service = Service(None)
    assert asyncio.run(retry(service, policy)) == {"n": 1}
    assert service.num_calls == 2


def test_the_deadline_holds_when_everything_hangs():
    policy = RetryPolicy(timeout_s=0.1, num_attempts=99, first_wait_s=0.001)
    _, error = failing(policy, *[None] * 99)
    assert error.fault.kind == "timeout"


def test_a_wish_to_wait_is_honoured_and_one_beyond_the_deadline_ends_it():
    async def timed():
        start = asyncio.get_running_loop().time()
        await retry(Service(Fault("rate_limit", "", retry_after_s=0.15)), QUICK)
        return asyncio.get_running_loop().time() - start

    assert asyncio.run(timed()) >= 0.15
    service, _ = failing(QUICK, Fault("rate_limit", "", retry_after_s=30.0))
    assert service.num_calls == 1


def test_an_answer_is_paid_for_once_and_kept(tmp_path):
    async def twice(service):
        calls = PaidCalls(Store(tmp_path), QUICK, limit=4)
        answers = [await calls.get({"prompt": "a"}, service) for _ in range(2)]
        return answers, calls.stats("judge")

    service = Service()
    answers, stats = asyncio.run(twice(service))
    assert answers == [{"n": 1}, {"n": 1}]
    assert (stats["judge/calls"], stats["judge/hits"], stats["judge/attempts"]) == (2, 1, 1)
    asyncio.run(twice(service))
    assert service.num_calls == 1
    kept = next((tmp_path / "calls").rglob("*.json")).read_text()
    assert '"request": {"prompt": "a"}' in kept


def test_equal_requests_in_flight_share_one_call(tmp_path):
    async def many(service):
        calls = PaidCalls(Store(tmp_path), QUICK, limit=4)
        answers = await asyncio.gather(*(calls.get({"prompt": i % 2}, service) for i in range(20)))
        return answers, calls.stats("judge")

    service = Service(wait_s=0.02)
    answers, stats = asyncio.run(many(service))
    assert service.num_calls == 2
    assert len(answers) == 20
    assert stats["judge/shared"] == 18


def test_one_waiters_cancellation_leaves_the_call_to_the_others(tmp_path):
    async def scenario(service):
        calls = PaidCalls(Store(tmp_path), QUICK, limit=4)
        waiters = [asyncio.create_task(calls.get({"prompt": "a"}, service)) for _ in range(3)]
        await asyncio.sleep(0.02)
        waiters[0].cancel()
        return await asyncio.gather(*waiters, return_exceptions=True)

    service = Service(wait_s=0.1)
    first, *others = asyncio.run(scenario(service))
    assert isinstance(first, asyncio.CancelledError)
    assert others == [{"n": 1}, {"n": 1}]
    assert service.num_calls == 1


def test_the_last_waiter_takes_the_call_along_and_the_next_one_starts_anew(tmp_path):
    async def scenario(service):
        calls = PaidCalls(Store(tmp_path), QUICK, limit=1)
        waiters = [asyncio.create_task(calls.get({"prompt": "a"}, service)) for _ in range(2)]
        await asyncio.sleep(0.05)
        for waiter in waiters:
            waiter.cancel()
        await asyncio.wait(waiters)
        return await calls.get({"prompt": "a"}, service)

    service = Service(wait_s=0.2)
    assert asyncio.run(scenario(service)) == {"n": 1}
    assert (service.num_calls, service.num_done) == (2, 1)


def test_a_failure_reaches_every_waiter_and_is_not_kept(tmp_path):
    async def scenario(service):
        calls = PaidCalls(Store(tmp_path), QUICK, limit=4)
        waiters = [calls.get({"prompt": "a"}, service) for _ in range(3)]
        failures = await asyncio.gather(*waiters, return_exceptions=True)
        return failures, await calls.get({"prompt": "a"}, service), calls.stats("judge")

    failures, answer, stats = asyncio.run(scenario(Service(Fault("refusal", "no", is_retryable=False))))
    assert [type(failure) for failure in failures] == [CallError] * 3
    assert answer == {"n": 1}
    assert (stats["judge/failures"], stats["judge/faults/refusal"]) == (1, 1)


def test_calls_in_flight_are_bounded(tmp_path):
    flying, most = 0, 0

    async def pay():
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.005)
        flying -= 1
        return {}

    async def many():
        calls = PaidCalls(Store(tmp_path), QUICK, limit=3)
        await asyncio.gather(*(calls.get({"prompt": i}, pay) for i in range(20)))

    asyncio.run(many())
    assert most == 3


def test_a_cached_answer_that_is_of_no_use_is_paid_for_again(tmp_path):
    async def twice():
        calls = PaidCalls(Store(tmp_path), QUICK, limit=3, is_usable=lambda answer: answer["n"] > 1)
        return [await calls.get({"prompt": "a"}, service) for _ in range(3)]

    service = Service()
    assert asyncio.run(twice()) == [{"n": 1}, {"n": 2}, {"n": 2}]
