"""One flight for equal requests, a cache that outlives the process, hedges, a budget, and an exact bill."""

import asyncio
from typing import Any

import pytest

from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import CallError, Fault, RetryPolicy
from actors.metered.service import Pooled
from actors.metered.usage_ledger import Budget, UsageLedger
from actors.store.store import Store
from rollout.roles import BudgetSpent

QUICK = RetryPolicy(timeout_s=60.0, num_attempts=3, first_wait_s=0.001, max_wait_s=0.01)
PRICE = 0.25


async def not_asked(payload: Any) -> Any:
    raise AssertionError("the service sends by itself")


class Service(Pooled):
    """Answers after its faults are used up; None hangs. Any place is beside any other."""

    def __init__(self, *faults, wait_s=0.0, num_places=4):
        super().__init__(not_asked, num_places)
        self.faults = list(faults)
        self.wait_s = wait_s
        self.may_answer: asyncio.Event | None = None
        self.num_calls = self.num_done = self.num_busy = self.most_busy = 0

    def try_acquire_other(self, first):
        if self._free.locked():
            return None
        self._free._value -= 1
        return "spare"

    async def send(self, payload, place, count):
        self.num_calls += 1
        self.num_busy += 1
        self.most_busy = max(self.most_busy, self.num_busy)
        fault = self.faults.pop(0) if self.faults else ""
        try:
            await asyncio.sleep(60 if fault is None else self.wait_s)
            if self.may_answer:
                await self.may_answer.wait()
        finally:
            self.num_busy -= 1
        if fault:
            error: Any = fault  # one of ours, or what is raised for it
            raise error if isinstance(error, Exception) else CallError(error)
        count("usd", PRICE)
        self.num_done += 1
        return {"n": self.num_done}


def calls_of(folder, service, *, policy=QUICK, budget=None, ledger=None, **options):
    return MeteredCalls(Store(folder), policy, service, UsageLedger("judge", ledger, budget=budget), **options)


def ask(calls, *prompts):
    return asyncio.gather(*(calls.get({"prompt": prompt}, prompt) for prompt in prompts), return_exceptions=True)


def play(folder, service, *prompts, **options):
    """Return the answers or errors of prompts asked all at once, and the stats."""

    async def scenario():
        calls = calls_of(folder, service, **options)
        return list(await ask(calls, *prompts)), calls.stats()

    return asyncio.run(scenario())


def test_an_answer_is_paid_for_once_and_kept(tmp_path):
    async def twice(service):
        calls = calls_of(tmp_path, service)
        return [await calls.get({"prompt": "a"}, "a") for _ in range(2)], calls.stats()

    service = Service()
    answers, stats = asyncio.run(twice(service))
    assert answers == [{"n": 1}, {"n": 1}]
    assert {name: stats[f"judge/{name}"] for name in ("calls", "hits", "attempts", "answers", "usd")} == {
        "calls": 2,
        "hits": 1,
        "attempts": 1,
        "answers": 1,
        "usd": PRICE,
    }
    assert (stats["judge/saved_calls"], stats["judge/saved_usd"]) == (1, PRICE)
    asyncio.run(twice(service))
    assert service.num_calls == 1
    kept = next((tmp_path / "calls").rglob("*.json")).read_text()
    assert '"request": {"prompt": "a"}' in kept


def test_equal_requests_in_flight_share_one_call(tmp_path):
    service = Service(wait_s=0.02)
    answers, stats = play(tmp_path, service, *"ab" * 10)
    assert service.num_calls == 2
    assert len(answers) == 20
    assert (stats["judge/shared"], stats["judge/saved_usd"]) == (18, 18 * PRICE)


def test_one_waiters_cancellation_leaves_the_call_to_the_others(tmp_path):
    async def scenario(service):
        calls = calls_of(tmp_path, service)
        waiters = [asyncio.create_task(calls.get({"prompt": "a"}, "a")) for _ in range(3)]
        await asyncio.sleep(0.02)
        waiters[0].cancel()
        return await asyncio.gather(*waiters, return_exceptions=True)

    service = Service(wait_s=0.1)
    first, *others = asyncio.run(scenario(service))
    assert isinstance(first, asyncio.CancelledError)
    assert others == [{"n": 1}, {"n": 1}]
    assert service.num_calls == 1


async def abandoned(calls, prompt, *, after_s=0.05):
    """Ask and leave."""
    waiters = [asyncio.create_task(calls.get({"prompt": prompt}, prompt)) for _ in range(2)]
    await asyncio.sleep(after_s)
    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)


def test_the_last_waiter_takes_a_call_along_that_was_not_sent_and_the_next_one_starts_anew(tmp_path):
    async def scenario(service):
        service.may_answer = asyncio.Event()
        calls = calls_of(tmp_path, service)
        before = asyncio.create_task(calls.get({"prompt": "before"}, "before"))
        while not service.num_busy:
            await asyncio.sleep(0.001)
        await abandoned(calls, "a")
        service.may_answer.set()
        await before
        await calls.close()
        num_calls = service.num_calls
        return num_calls, await calls_of(tmp_path, service).get({"prompt": "a"}, "a")

    assert asyncio.run(scenario(Service(num_places=1))) == (1, {"n": 2})


def test_what_was_sent_goes_to_its_end_and_whoever_asks_meanwhile_shares_it(tmp_path):
    async def scenario(service):
        calls = calls_of(tmp_path, service, ledger=tmp_path / "ledger")
        await abandoned(calls, "a")
        shared = await calls.get({"prompt": "a"}, "a")
        await abandoned(calls, "b")
        await calls.close()
        return shared, calls.stats()

    service = Service(wait_s=0.2)
    shared, stats = asyncio.run(scenario(service))
    assert (shared, service.num_calls, service.num_done) == ({"n": 1}, 2, 2)
    assert (stats["judge/answers"], stats["judge/usd"], stats.get("judge/cancelled", 0)) == (2, 2 * PRICE, 0)
    assert len(list((tmp_path / "calls").rglob("*.json"))) == 2
    assert UsageLedger("judge", tmp_path / "ledger").counts["usd"] == 2 * PRICE


def test_a_revocable_request_is_called_back_with_its_last_waiter_and_the_next_one_starts_anew(tmp_path):
    async def scenario(service):
        service.is_revocable = True
        calls = calls_of(tmp_path, service)
        waiters = [asyncio.create_task(calls.get({"prompt": "a"}, "a")) for _ in range(2)]
        while not service.num_busy:
            await asyncio.sleep(0.001)
        waiters[0].cancel()
        await asyncio.sleep(0.01)
        still_busy = service.num_busy
        waiters[1].cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        await asyncio.sleep(0.01)
        left_busy, service.faults = service.num_busy, []
        return still_busy, left_busy, await calls.get({"prompt": "a"}, "a"), calls.stats()

    still_busy, left_busy, answer, stats = asyncio.run(scenario(Service(None)))
    assert (still_busy, left_busy, answer) == (1, 0, {"n": 1})
    assert (stats["judge/attempts"], stats["judge/answers"], stats["judge/cancelled"]) == (2, 1, 1)


def test_what_nobody_waits_for_is_neither_hedged_nor_sent_again(tmp_path):
    async def scenario(service):
        calls = calls_of(tmp_path, service, hedge_after_s=0.1)
        await abandoned(calls, "a")
        await calls.close()
        return calls.stats()

    service = Service(Fault("range", ""), wait_s=0.3)
    stats = asyncio.run(scenario(service))
    assert (service.num_calls, stats["judge/failures"], stats["judge/faults/range"]) == (1, 1, 1)
    assert "judge/hedges" not in stats


def test_after_the_end_nothing_is_sent_and_nothing_counted_is_lost(tmp_path):
    async def scenario(service):
        calls = calls_of(tmp_path, service, ledger=tmp_path / "ledger")
        for _ in range(3):
            await calls.get({"prompt": "a"}, "a")
        await calls.close()
        with pytest.raises(CallError, match="the run is ending"):
            await calls.get({"prompt": "b"}, "b")

    service = Service()
    asyncio.run(scenario(service))
    assert service.num_calls == 1
    counts = UsageLedger("judge", tmp_path / "ledger").counts
    assert (counts["calls"], counts["hits"], counts["saved_usd"]) == (3, 2, 2 * PRICE)


def test_an_answer_that_arrived_is_kept_though_nobody_waits_any_more(tmp_path):
    class SlowDisk(Store):
        def put_call(self, key, call):
            arrived.set()
            leave.wait(5)
            super().put_call(key, call)

    import threading

    arrived, leave = threading.Event(), threading.Event()

    async def scenario(service):
        calls = MeteredCalls(SlowDisk(tmp_path), QUICK, service, UsageLedger("judge"))
        waiter = asyncio.create_task(calls.get({"prompt": "a"}, "a"))
        await asyncio.to_thread(arrived.wait, 5)
        waiter.cancel()
        await asyncio.wait([waiter])
        leave.set()
        return await calls.get({"prompt": "a"}, "a")

    service = Service()
    assert asyncio.run(scenario(service)) == {"n": 1}
    assert service.num_calls == 1


def test_a_failure_reaches_every_waiter_and_is_not_kept(tmp_path):
    service = Service(Fault("refusal", "no", is_retryable=False))
    failures, stats = play(tmp_path, service, "a", "a", "a")
    assert [type(failure) for failure in failures] == [CallError] * 3
    assert (stats["judge/failures"], stats["judge/faults/refusal"]) == (1, 1)
    answers, _ = play(tmp_path, service, "a")
    assert answers == [{"n": 1}]


def test_calls_in_flight_are_bounded_by_the_places(tmp_path):
    service = Service(wait_s=0.005, num_places=3)
    play(tmp_path, service, *range(20))
    assert service.most_busy == 3


def test_a_cached_answer_that_is_of_no_use_is_paid_for_again(tmp_path):
    async def thrice():
        calls = calls_of(tmp_path, Service(), is_usable=lambda answer: answer["n"] > 1)
        return [await calls.get({"prompt": "a"}, "a") for _ in range(3)]

    assert asyncio.run(thrice()) == [{"n": 1}, {"n": 2}, {"n": 2}]


def test_every_attempt_is_an_answer_a_fault_or_cancelled(tmp_path):
    faults = [Fault("server_error", ""), OSError("reset"), Fault("range", ""), Fault("refusal", "", is_retryable=False)]
    _, stats = play(tmp_path, Service(*faults, num_places=1), *"abc")
    outcomes = {name.removeprefix("judge/"): n for name, n in stats.items() if "faults/" in name or "answers" in name}
    assert outcomes == {
        "answers": 2,
        "faults/server_error": 1,
        "faults/OSError": 1,
        "faults/range": 1,
        "faults/refusal": 1,
    }
    assert stats["judge/attempts"] == sum(outcomes.values())


def test_an_attempt_that_hangs_leaves_time_for_another(tmp_path):
    policy = RetryPolicy(timeout_s=0.2, num_attempts=3, first_wait_s=0.001)
    answers, stats = play(tmp_path, Service(None), "a", policy=policy)
    assert answers == [{"n": 1}]
    assert stats["judge/faults/timeout"] == 1


def test_the_deadline_holds_when_everything_hangs(tmp_path):
    policy = RetryPolicy(timeout_s=0.1, num_attempts=99, first_wait_s=0.001)
    (error,), stats = play(tmp_path, Service(*[None] * 99), "a", policy=policy)
    assert error.fault.kind == "timeout"
    assert stats["judge/attempts"] == stats["judge/faults/timeout"]


def test_a_straggler_is_asked_a_second_time_and_the_first_answer_wins(tmp_path):
    service = Service(None)
    answers, stats = play(tmp_path, service, "a", hedge_after_s=0.03)
    assert answers == [{"n": 1}]
    assert (stats["judge/attempts"], stats["judge/hedges"], stats["judge/cancelled"]) == (2, 1, 1)
    assert service.num_busy == 0
    assert not service._free.locked()


def test_who_answers_soon_is_asked_once(tmp_path):
    _, stats = play(tmp_path, Service(), *"abc", hedge_after_s=0.5)
    assert (stats["judge/attempts"], stats.get("judge/hedges", 0)) == (3, 0)


def test_a_hedge_that_fails_is_followed_by_another_one(tmp_path):
    policy = RetryPolicy(timeout_s=60.0, num_attempts=3, first_wait_s=0.001)
    answers, stats = play(tmp_path, Service(None, Fault("range", "")), "a", policy=policy, hedge_after_s=0.03)
    assert answers == [{"n": 1}]
    assert (stats["judge/faults/range"], stats["judge/hedges"], stats["judge/cancelled"]) == (1, 2, 1)


def test_a_straggler_is_given_up_with_the_last_hedge(tmp_path):
    policy = RetryPolicy(timeout_s=60.0, num_attempts=2, first_wait_s=0.001)
    answers, stats = play(tmp_path, Service(None, Fault("range", "")), "a", policy=policy, hedge_after_s=0.03)
    assert answers == [{"n": 1}]
    assert (stats["judge/faults/range"], stats["judge/attempts"], stats["judge/cancelled"]) == (1, 3, 1)


def test_a_fault_of_the_first_leaves_the_race_to_its_hedge(tmp_path):
    class Late(Service):
        async def send(self, payload, place, count):
            self.wait_s = 0.3 if self.num_calls == 0 else 0.15
            return await super().send(payload, place, count)

    answers, stats = play(tmp_path, Late(Fault("server_error", "")), "a", hedge_after_s=0.2)
    assert answers == [{"n": 1}]
    assert (stats["judge/faults/server_error"], stats["judge/attempts"]) == (1, 2)


def test_of_two_answers_at_the_same_instant_one_counts_as_cancelled(tmp_path):
    class Twins(Service):
        async def send(self, payload, place, count):
            self.num_calls += 1
            if self.num_calls == 1:
                self.second = asyncio.Event()
                await self.second.wait()
            else:
                self.second.set()
            return {"n": 1}

    answers, stats = play(tmp_path, Twins(), "a", hedge_after_s=0.02)
    assert answers == [{"n": 1}]
    assert (stats["judge/attempts"], stats["judge/answers"], stats["judge/cancelled"]) == (2, 1, 1)


def test_nobody_is_hedged_where_there_is_no_room(tmp_path):
    policy = RetryPolicy(timeout_s=0.2, num_attempts=2, first_wait_s=0.001)
    _, stats = play(tmp_path, Service(None, num_places=1), "a", policy=policy, hedge_after_s=0.02)
    assert "judge/hedges" not in stats


def test_a_budget_of_calls_is_never_exceeded_and_what_was_paid_for_is_kept(tmp_path):
    service = Service(wait_s=0.02, num_places=8)
    results, stats = play(tmp_path, service, *range(50), budget=Budget(calls=20), ledger=tmp_path / "ledger")
    answered = [result for result in results if isinstance(result, dict)]
    refused = [result for result in results if isinstance(result, BudgetSpent)]
    assert (len(answered), len(refused), service.num_calls) == (20, 30, 20)
    assert str(refused[0]) == ("the budget of judge is spent: 20 of 20 calls are made; raise its budget_calls to go on")
    assert len(list((tmp_path / "calls").rglob("*.json"))) == 20
    assert stats["judge/attempts"] == 20


def test_retries_and_hedges_are_of_the_budget_too(tmp_path):
    results, stats = play(tmp_path, Service(*[Fault("range", "")] * 9, num_places=1), *range(3), budget=Budget(calls=4))
    assert sum(isinstance(result, BudgetSpent) for result in results) == 3
    assert stats["judge/attempts"] == 4
    hung = Service(None)
    policy = RetryPolicy(timeout_s=0.5, num_attempts=2, first_wait_s=0.001)
    results, stats = play(tmp_path, hung, "x", policy=policy, budget=Budget(calls=1), hedge_after_s=0.01)
    assert (hung.num_calls, type(results[0])) == (1, BudgetSpent)


def test_a_spent_budget_is_said_once_all_that_was_paid_for_is_on_disk(tmp_path):
    async def scenario():
        calls = calls_of(tmp_path, Service(wait_s=0.1), budget=Budget(calls=2))
        waiters = [asyncio.create_task(calls.get({"prompt": i}, i)) for i in range(3)]
        done, _ = await asyncio.wait(waiters, return_when=asyncio.FIRST_EXCEPTION)
        assert any(isinstance(waiter.exception(), BudgetSpent) for waiter in done)
        return len(list((tmp_path / "calls").rglob("*.json")))

    assert asyncio.run(scenario()) == 2


def test_money_is_a_budget_too_and_cached_answers_cost_none(tmp_path):
    results, stats = play(tmp_path, Service(num_places=1), *range(9), budget=Budget(usd=1.0))
    assert sum(isinstance(result, dict) for result in results) == 4
    assert stats["judge/usd"] == 1.0
    results, _ = play(tmp_path, Service(), *range(9), budget=Budget(usd=1.25), ledger=tmp_path / "ledger")
    assert all(isinstance(result, dict) for result in results)


@pytest.mark.parametrize("hedge_after_s", [0.0, 0.002])
def test_calls_in_flight_are_counted_by_what_they_may_cost(tmp_path, hedge_after_s):
    service = Service(wait_s=0.005, num_places=8)
    budget = Budget(usd=4 * PRICE)
    results, stats = play(tmp_path, service, *range(20), budget=budget, hedge_after_s=hedge_after_s)
    assert stats["judge/usd"] == 4 * PRICE  # with eight places, eleven answers would have been paid for
    assert sum(isinstance(result, dict) for result in results) <= 4
    assert service.most_busy == 3  # one told the price, then there was money for three more


def test_a_call_that_failed_leaves_its_money_to_the_next(tmp_path):
    faults = ["", Fault("refused", "", is_retryable=False), Fault("refused", "", is_retryable=False)]
    results, stats = play(tmp_path, Service(*faults, wait_s=0.005), *range(9), budget=Budget(usd=3 * PRICE))
    assert stats["judge/usd"] == 3 * PRICE
    assert sum(isinstance(result, dict) for result in results) == 3


def test_what_reached_no_server_uses_up_no_budget(tmp_path):
    results, _ = play(tmp_path, Service(Fault("unreachable", ""), num_places=1), "a", "b", budget=Budget(calls=2))
    assert [type(result) for result in results] == [dict, dict]
