"""Books that outlive their process: counts are the sums of the ledger's rows."""

import asyncio
from collections import defaultdict

import pytest

from actors.metered.usage_ledger import ANSWER, COUNTED, Budget, UsageLedger
from actors.store.append_log import read_log
from actors.store.ledger import CALLS


def closed(usage, key, outcome=ANSWER, **bill):
    """Count a call in the usage and close it."""
    for name, amount in bill.items():
        usage.counts[name.replace("__", "/")] += amount
    asyncio.run(usage.close(key, "here", outcome, defaultdict(float, bill)))


def test_who_comes_after_goes_on_counting(tmp_path):
    first = UsageLedger("judge", tmp_path)
    first.counts["calls"] += 3
    closed(first, "k1", attempts=2, usd=0.5, faults__range=1)
    first.counts["calls"] += 2  # a cached answer writes no row: it is told with the next one
    closed(first, "k2", "range", attempts=4)
    closed(UsageLedger("generator", tmp_path), "k3", attempts=7)
    second = UsageLedger("judge", tmp_path)
    assert dict(second.counts) == {"calls": 5, "attempts": 6, "usd": 0.5, "faults/range": 1}
    closed(second, "k4", attempts=1)
    assert UsageLedger("judge", tmp_path).counts["attempts"] == 7


def test_what_cost_nothing_is_told_by_a_row_of_its_own_now_and_then(tmp_path):
    first = UsageLedger("judge", tmp_path)
    first.counts["hits"] += 3
    asyncio.run(first.flush(unless_within_s=60))
    assert UsageLedger("judge", tmp_path).counts["hits"] == 0
    for _ in range(2):
        asyncio.run(first.flush())
    [row] = read_log(tmp_path, CALLS)
    assert (row["outcome"], row["bill"], row["counted"]) == (COUNTED, {}, {"hits": 3})
    assert UsageLedger("judge", tmp_path).counts["hits"] == 3


def test_what_could_not_be_written_is_in_the_next_row(tmp_path, monkeypatch):
    async def full(rows):
        raise OSError(28, "No space left on device")

    usage = UsageLedger("judge", tmp_path)
    closed(usage, "k1", attempts=1, usd=0.5)
    with monkeypatch.context() as disk:
        disk.setattr(usage._log, "append", full)
        with pytest.raises(OSError, match="No space"):
            closed(usage, "k2", attempts=1, usd=0.25)
    closed(usage, "k3", attempts=1, usd=1.0)
    assert UsageLedger("judge", tmp_path).counts == {"attempts": 3, "usd": 1.75}


def test_a_row_tells_what_its_call_cost(tmp_path):
    closed(UsageLedger("judge", tmp_path), "k1", "refusal", attempts=2, tokens_in=30)
    [row] = read_log(tmp_path, CALLS)
    assert (row["service"], row["key"], row["endpoint"], row["outcome"]) == ("judge", "k1", "here", "refusal")
    assert row["bill"] == {"attempts": 2, "tokens_in": 30}


def test_who_counts_for_a_process_alone_takes_nothing_up(tmp_path):
    closed(UsageLedger("judge", tmp_path), "k1", attempts=2)
    alone = UsageLedger("judge", tmp_path, is_continued=False)
    closed(alone, "k2", attempts=1)
    assert alone.counts["attempts"] == 1
    assert UsageLedger("judge", tmp_path).counts["attempts"] == 3


def test_a_spent_budget_stays_spent_until_it_is_raised(tmp_path):
    closed(UsageLedger("judge", tmp_path), "k1", attempts=10, usd=2.0)
    for budget, sentence in (
        (Budget(calls=10), "10 of 10 calls are made; raise its budget_calls"),
        (Budget(usd=2.0), "2.00 of 2.00 US dollars are paid; raise its budget_usd"),
    ):
        assert sentence in UsageLedger("judge", tmp_path, budget=budget).why_spent()
    assert UsageLedger("judge", tmp_path, budget=Budget(11, 2.01)).why_spent() is None
    assert UsageLedger("judge", tmp_path).why_spent() is None


def test_latencies_are_percentiles_of_the_last_answers():
    usage = UsageLedger("judge")
    usage.latencies.extend(i / 100 for i in range(101))
    stats = usage.stats()
    assert (stats["judge/latency_p50_s"], stats["judge/latency_p95_s"]) == pytest.approx((0.5, 0.95))
