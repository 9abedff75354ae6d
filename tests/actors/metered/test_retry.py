"""Attempts under one deadline: which faults are tried again, how long, and what does not count."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from actors.metered.retry import CallError, Fault, RetryPolicy, fault_of, retry
from rollout.roles import BudgetSpent
from tests.support.unsayable import HALF, HALF_TOLD, UnsayableError

QUICK = RetryPolicy(timeout_s=2.0, num_attempts=3, first_wait_s=0.001, max_wait_s=0.01)


class Attempts:
    """Raises its faults one after the other, then answers; keeps the time limits it was given."""

    def __init__(self, *faults):
        self.faults = list(faults)
        self.limits = []
        self.num_held = 0

    async def __call__(self, place, limit_s):
        self.limits.append(limit_s)
        if self.faults:
            fault = self.faults.pop(0)
            raise CallError(fault) if isinstance(fault, Fault) else fault
        return "answer"

    @asynccontextmanager
    async def place(self):
        self.num_held += 1
        yield "here"
        self.num_held -= 1


def run(attempts, policy=QUICK):
    return asyncio.run(retry(attempts, policy, attempts.place))


def failing(policy, *faults):
    attempts = Attempts(*faults)
    with pytest.raises(CallError) as caught:
        run(attempts, policy)
    return attempts, caught.value


def test_passing_trouble_is_tried_again():
    attempts = Attempts(Fault("server_error", "HTTP 500"), OSError("reset"))
    assert run(attempts) == "answer"
    assert len(attempts.limits) == 3


def test_it_gives_up_after_the_last_attempt_and_says_why():
    attempts, error = failing(QUICK, *[Fault("server_error", "HTTP 500")] * 9)
    assert len(attempts.limits) == 3
    assert error.fault.kind == "server_error"
    assert "attempts: 3" in str(error)


def test_a_hopeless_fault_is_not_tried_again():
    attempts, _ = failing(QUICK, Fault("unauthorized", "HTTP 401", is_retryable=False))
    assert len(attempts.limits) == 1


def test_who_was_not_looked_at_does_not_use_up_an_attempt():
    attempts = Attempts(*[Fault("replica_lost", "died", is_counted=False)] * 8)
    assert run(attempts) == "answer"
    assert len(attempts.limits) == 9


def test_an_attempt_gets_half_of_what_is_left_and_the_last_one_all_of_it():
    attempts, _ = failing(RetryPolicy(8.0, 3, first_wait_s=0.0), *[Fault("timeout", "")] * 3)
    assert attempts.limits == pytest.approx([4.0, 4.0, 8.0], abs=0.1)


def test_the_time_of_attempts_and_of_back_off_is_the_deadlines():
    async def slow(place, limit_s):
        await asyncio.sleep(0.05)
        raise CallError(Fault("server_error", ""))

    policy = RetryPolicy(timeout_s=0.2, num_attempts=99, first_wait_s=0.02, max_wait_s=0.02)
    with pytest.raises(CallError, match=r"attempts: [1-4], "):
        asyncio.run(retry(slow, policy, Attempts().place))


def test_waiting_for_a_place_is_not():
    class Crowded(Attempts):
        @asynccontextmanager
        async def place(self):
            await asyncio.sleep(0.1)
            yield

    crowded = Crowded(*[Fault("server_error", "")] * 2)
    assert run(crowded, RetryPolicy(timeout_s=0.1, num_attempts=3, first_wait_s=0.001)) == "answer"


def test_no_place_is_held_between_attempts():
    async def scenario():
        attempts = Attempts(Fault("rate_limit", "", retry_after_s=0.1))
        trying = asyncio.create_task(retry(attempts, QUICK, attempts.place))
        await asyncio.sleep(0.05)
        held_meanwhile = attempts.num_held
        return held_meanwhile, len(attempts.limits), await trying

    assert asyncio.run(scenario()) == (0, 1, "answer")


def test_a_wish_to_wait_is_honoured_and_one_beyond_the_deadline_ends_it():
    async def timed():
        attempts = Attempts(Fault("rate_limit", "", retry_after_s=0.15))
        start = asyncio.get_running_loop().time()
        await retry(attempts, QUICK, attempts.place)
        return asyncio.get_running_loop().time() - start

    assert asyncio.run(timed()) >= 0.15
    attempts, _ = failing(QUICK, Fault("rate_limit", "", retry_after_s=30.0))
    assert len(attempts.limits) == 1


def test_a_spent_budget_is_no_fault():
    attempts = Attempts(BudgetSpent("all of it"))
    with pytest.raises(BudgetSpent):
        run(attempts)
    assert len(attempts.limits) == 1


def test_a_faults_text_can_be_written_whatever_was_raised_or_answered():
    assert Fault("bad_request", HALF).error == HALF_TOLD
    assert fault_of(UnsayableError()).error == "its __str__ raises OSError"
