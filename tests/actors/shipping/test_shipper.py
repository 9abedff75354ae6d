"""What is shipped when, what a lost node loses, and what a bucket that takes nothing does to a job."""

import asyncio

import pytest

from actors.shipping import shipper
from actors.shipping.config import LedgerConfig
from actors.shipping.segments import shipped
from actors.shipping.shipper import BucketLost, Shipper, shipping
from actors.store import bucket as bucket_module
from actors.store.append_log import AppendLog, read_log
from actors.store.blobs import shipping_from
from actors.store.bucket import Bucket, BucketError
from actors.store.place import CACHE_VARIABLE, folder_of
from actors.store.store import Store
from tests.support.lost_node import lose_a_node

NEVER = LedgerConfig(segment_rows=1000, segment_s=1000.0)


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return f"file://{tmp_path}/bucket"


def shipper_of(url, folder, config):
    return Shipper(Bucket(url), "ledgers/run/", folder, folder_of(url), config)


def row(key):
    return {"service": "judge", "key": key, "outcome": "answer", "bill": {}, "counted": {}}


def in_bucket(url):
    return {log: there.num_segments for log, there in shipped(Bucket(url), "ledgers/run/").items()}


def test_a_segment_is_sealed_by_its_rows(url, tmp_path):
    log = AppendLog(tmp_path / "ledger", "samples")
    one = shipper_of(url, tmp_path / "ledger", LedgerConfig(segment_rows=3, segment_s=1000.0))
    one.begin()
    log.append([{"n": 1}, {"n": 2}])
    one.ship()
    assert in_bucket(url) == {}
    log.append([{"n": 3}])
    one.ship()
    assert in_bucket(url) == {log.path.stem: 1}


def test_a_segment_is_sealed_by_its_age(url, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("actors.shipping.shipper.time.monotonic", lambda: clock[0])
    log = AppendLog(tmp_path / "ledger", "samples")
    one = shipper_of(url, tmp_path / "ledger", LedgerConfig(segment_rows=1000, segment_s=30.0))
    for now, expected in ((0.0, 0), (29.0, 0), (31.0, 1), (32.0, 1), (61.0, 1), (62.5, 2)):
        clock[0] = now
        if now in (0.0, 32.0):
            log.append([{"n": now}])
        one.ship()
        assert sum(in_bucket(url).values()) == expected, now


def test_the_row_of_a_call_is_in_the_bucket_before_its_answer(url, tmp_path):
    log, store = AppendLog(tmp_path / "ledger", "calls"), Store(url)
    one = shipper_of(url, tmp_path / "ledger", LedgerConfig(segment_rows=1, segment_s=1000.0))
    with shipping_from(store.root):
        store.put_call("abcd", {"answer": 1})
        one.ship()
        assert not Bucket(url).sizes("calls/")
        log.append([row("abcd"), row("bcde")])
        one.ship()
        assert set(Bucket(url).sizes("calls/")) == {"calls/ab/abcd.json"}
        store.put_call("bcde", {"answer": 2})  # its row was shipped before it was on disk
        one.ship()
        assert len(Bucket(url).sizes("calls/")) == 2


def test_what_a_killed_job_left_on_its_disk_is_sent_at_the_next_start(url, tmp_path):
    log, store = AppendLog(tmp_path / "ledger", "calls"), Store(url)
    config = LedgerConfig(segment_rows=1, segment_s=1000.0)
    first = shipper_of(url, tmp_path / "ledger", config)
    with shipping_from(store.root):
        log.append([row("abcd")])
        first.ship()
        store.put_call("abcd", {"answer": 1})  # then it is killed
    second = shipper_of(url, tmp_path / "ledger", config)
    assert second.begin() == 0
    second.ship()
    assert len(Bucket(url).sizes("calls/")) == 1


def test_a_job_ships_the_rest_at_its_end_even_if_it_fails(url, tmp_path):
    async def job():
        async with shipping(url, tmp_path / "run", NEVER):
            AppendLog(tmp_path / "run" / "ledger", "samples").append([{"n": 1}])
            raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        asyncio.run(job())
    assert sum(in_bucket(url).values()) == 1


class Outage:
    """A bucket that takes nothing while it `is_down`."""

    def __init__(self, monkeypatch):
        self.is_down = True
        create = bucket_module.Bucket.create

        def maybe(bucket, name, data):
            if self.is_down:
                raise BucketError("503 Slow Down")
            return create(bucket, name, data)

        monkeypatch.setattr(bucket_module.Bucket, "create", maybe)
        monkeypatch.setattr(shipper, "_LOOK_S", 0.01)


@pytest.mark.slow
def test_an_outage_is_told_once_and_the_job_goes_on(url, tmp_path, monkeypatch, quick_retries):
    """Slow: it waits for an outage to end."""
    outage, told = Outage(monkeypatch), []

    async def until(said):
        while not any(said in text for text in told):
            await asyncio.sleep(0.01)

    async def job():
        config = LedgerConfig(segment_rows=1, segment_s=1000.0)
        async with asyncio.timeout(60), shipping(url, tmp_path / "run", config, say=told.append):
            AppendLog(tmp_path / "run" / "ledger", "samples").append([{"n": 1}])
            await until("503 Slow Down [attempts: 5")
            await asyncio.sleep(0.5)
            assert len(told) == 1
            outage.is_down = False
            await until("takes the ledger's rows again")
            assert sum(in_bucket(url).values()) == 1

    asyncio.run(job())


def test_a_row_that_waits_too_long_stops_the_job(url, tmp_path, monkeypatch, quick_retries):
    Outage(monkeypatch)
    is_ended = []

    async def job():
        config = LedgerConfig(segment_rows=1, segment_s=1000.0, unshipped_s=0.2)
        async with shipping(url, tmp_path / "run", config, say=lambda text: None):
            AppendLog(tmp_path / "run" / "ledger", "samples").append([{"n": 1}])
            try:
                await asyncio.sleep(60)
            finally:
                is_ended.append(True)

    with pytest.raises(BucketLost, match=r"has taken no row for 0 s \(ledger.unshipped_s\); all rows are on this disk"):
        asyncio.run(job())
    assert is_ended
    assert [row["n"] for row in read_log(tmp_path / "run" / "ledger", "samples")] == [1]


@pytest.mark.slow
def test_a_lost_node_loses_its_unsealed_segment_alone(url, tmp_path):
    """Killed between commit and seal, and its disk with it: what was not shipped is made again, and nothing else.

    Slow: it starts processes of Python.
    """
    lost = lose_a_node(url, tmp_path, num_calls=25, segment_rows=20)
    assert (lost.num_paid, lost.num_shipped) == (25, 20)
    assert lost.paid_again == [20, 21, 22, 23, 24]
    assert lost.rows == dict.fromkeys(range(25), 1)
    assert lost.last_said == f"done {sum(range(25))}"


@pytest.mark.slow
def test_a_killed_job_whose_disk_is_there_loses_nothing(url, tmp_path):
    """Slow: it starts processes of Python."""
    lost = lose_a_node(url, tmp_path, num_calls=25, segment_rows=20, with_disk=False)
    assert (lost.num_paid, lost.num_shipped, lost.paid_again) == (25, 20, [])
    assert lost.rows == dict.fromkeys(range(25), 1)
