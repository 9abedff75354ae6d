"""The owner of a run's paid calls: alone in this process, and as an actor that workers share and that may die."""

import asyncio
import json
import os
import pickle
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from actors.cluster import ray_cluster
from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import CallError, Fault, RetryPolicy
from actors.metered.service import Pooled
from actors.metered.shared_calls import SharedCalls, silences
from actors.metered.usage_ledger import Budget, UsageLedger
from actors.store.append_log import read_log
from actors.store.store import Store
from rollout.roles import BudgetSpent
from tests.support.source_tree import REPO

POLICY = RetryPolicy(timeout_s=30.0, num_attempts=2, first_wait_s=0.01)


class Counter:
    """A service whose every request leaves a note in a folder that all processes see."""

    def __init__(self, folder):
        self.folder = Path(folder)

    async def __call__(self, payload):
        note = self.folder / f"{payload['name']}.{os.getpid()}.{time.monotonic_ns()}"
        note.touch()
        try:
            await asyncio.sleep(payload.get("wait_s", 0.0))
        except asyncio.CancelledError:
            (self.folder / f"{payload['name']}-cancelled").touch()
            raise
        if "fault" in payload:
            raise CallError(Fault(payload["fault"], "as told", is_retryable=False))
        return {"name": payload["name"]}


def make_calls(folder, budget, is_continued):
    usage = UsageLedger("judge", f"{folder}/ledger", budget=budget, is_continued=is_continued)
    return MeteredCalls(Store(folder), POLICY, Pooled(Counter(folder), 256), usage)


def calls_in(folder, budget=None):
    return partial(make_calls, str(folder), budget)


def ask(owner, name, **payload):
    return owner.get({"name": name}, {"name": name, **payload})


def notes(folder, name="*"):
    return [path for path in Path(folder).glob(f"{name}.*") if path.suffix != ".png"]


def test_without_an_actor_each_process_pays_for_itself_and_the_cache_is_shared(tmp_path):
    async def scenario():
        owner = await SharedCalls.start(calls_in(tmp_path), is_local=True)
        assert await owner.stats() == {}
        first = await asyncio.gather(*(ask(owner, "a") for _ in range(5)))
        other = pickle.loads(pickle.dumps(owner))
        return [*first, await ask(other, "a")], await owner.stats(), await other.stats()

    answers, stats, others = asyncio.run(scenario())
    assert answers == [{"name": "a"}] * 6
    assert len(notes(tmp_path)) == 1
    assert (stats["judge/calls"], stats["judge/attempts"], others["judge/hits"]) == (5, 1, 1)
    assert "judge/attempts" not in others


def test_calls_without_an_actor_are_known_where_they_wait(tmp_path, monkeypatch):
    monkeypatch.setattr("actors.metered.silent_services.SILENT_S", 0.1)

    async def scenario():
        owner = await SharedCalls.start(calls_in(tmp_path), is_local=True)
        assert (await ask(owner, "a"), silences()) == ({"name": "a"}, [])
        asking = [asyncio.create_task(ask(owner, name, wait_s=60.0)) for name in "bc"]
        await asyncio.sleep(0.5)
        lines = silences()
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        return lines, silences()

    (line,), afterwards = asyncio.run(scenario())
    assert line.startswith("judge has answered none of 2 calls for ")
    assert afterwards == []


def test_an_owner_without_ray_is_said_to_need_it(tmp_path):
    with pytest.raises(ValueError, match="num_replicas=0"):
        asyncio.run(SharedCalls.start(calls_in(tmp_path)))


class Worker:
    """Another process that asks."""

    def __init__(self, owner):
        self.owner = owner

    async def ask_all(self, names, **payload):
        return await asyncio.gather(*(ask(self.owner, name, **payload) for name in names))

    def pid(self):
        return os.getpid()


async def owner_pid(owner, folder):
    await ask(owner, name := f"pid{time.monotonic_ns()}")
    [note] = notes(folder, name)
    return int(note.name.split(".")[1])


async def until(condition):
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("waited 20 s in vain")


@pytest.mark.slow
def test_an_owner_serves_all_workers_and_outlives_its_process(tmp_path, monkeypatch):
    """Slow: starts Ray, an owner and two workers, and kills the owner again and again."""
    import ray

    monkeypatch.setenv("PYTHONPATH", str(REPO))

    async def scenario():
        async with ray_cluster("", 4):
            owner = await SharedCalls.start(calls_in(tmp_path, Budget(calls=2000)))
            workers = [ray.remote(Worker).options(num_cpus=0.1, max_concurrency=64).remote(owner) for _ in range(2)]
            await asyncio.gather(*(worker.pid.remote() for worker in workers))
            await takes_a_few_milliseconds(owner)
            await pays_once_for_what_both_workers_want(workers)
            await raises_what_the_call_raised(owner)
            await leaves_a_call_to_the_others_and_to_its_end(owner)
            await is_killed_under_load(owner, workers)
            await keeps_to_the_budget(owner)
            last = await SharedCalls.start(calls_in(tmp_path))
            under_way = asyncio.create_task(ask(last, "last", wait_s=1.0))
            await until(lambda: notes(tmp_path, "last"))
            under_way.cancel()
        assert "last" in answered(), "a run ended before what it had paid for was on disk"

    def answered():
        return {json.loads(path.read_text())["answer"]["name"] for path in (tmp_path / "calls").rglob("*.json")}

    async def takes_a_few_milliseconds(owner):
        await ask(owner, "hop")
        began = time.monotonic()
        for _ in range(100):
            await ask(owner, "hop")
        print(f"a cached answer takes {(time.monotonic() - began) * 10:.2f} ms")

    async def pays_once_for_what_both_workers_want(workers):
        names = [f"both{number}" for number in range(50)]
        answers = await asyncio.gather(*(worker.ask_all.remote(names, wait_s=0.5) for worker in workers))
        assert answers == [[{"name": name} for name in names]] * 2
        assert all(len(notes(tmp_path, name)) == 1 for name in names)

    async def raises_what_the_call_raised(owner):
        with pytest.raises(CallError, match="refusal: as told") as caught:
            await ask(owner, "bad", fault="refusal")
        assert caught.value.fault.kind == "refusal"

    async def leaves_a_call_to_the_others_and_to_its_end(owner):
        waiters = [asyncio.create_task(ask(owner, "stay", wait_s=1.0)) for _ in range(2)]
        await until(lambda: notes(tmp_path, "stay"))
        waiters[0].cancel()
        assert await waiters[1] == {"name": "stay"}
        lonely = asyncio.create_task(ask(owner, "leave", wait_s=1.0))
        await until(lambda: notes(tmp_path, "leave"))
        lonely.cancel()
        assert await ask(owner, "leave") == {"name": "leave"}
        assert len(notes(tmp_path, "leave")) == 1

    async def is_killed_under_load(owner, workers):
        before = (await owner.stats())["judge/answers"]
        names = [f"load{number}" for number in range(300)]
        asking = [
            asyncio.create_task(asyncio.wait_for(worker.ask_all.remote(names, wait_s=0.3), 120)) for worker in workers
        ]
        for kill in range(2):
            await until(lambda goal=60 * (kill + 1): len(notes(tmp_path, "load*")) > goal)
            os.kill(await owner_pid(owner, tmp_path), signal.SIGKILL)
        answers = await asyncio.gather(*asking)
        assert answers == [[{"name": name} for name in names]] * 2
        stats = await owner.stats()
        rows = [row for row in read_log(tmp_path / "ledger", "calls") if row["outcome"] == "answer"]
        # An answer that was paid for is in the ledger before it is in the cache: none is paid for and forgotten.
        assert {f"load{number}" for number in range(300)} <= {Path(note).name.split(".")[0] for note in notes(tmp_path)}
        assert stats["judge/answers"] == len(rows) >= before + 300
        twice = len(rows) - len({row["key"] for row in rows})
        print(f"{len(notes(tmp_path, 'load*'))} requests for 300 answers, {twice} rows of one key twice")

    async def keeps_to_the_budget(owner):
        spent = (await owner.stats())["judge/attempts"]
        results = await asyncio.gather(
            *(ask(owner, f"more{number}") for number in range(2100 - int(spent))), return_exceptions=True
        )
        assert sum(isinstance(result, BudgetSpent) for result in results) == 100
        os.kill(int(notes(tmp_path, "more0")[0].name.split(".")[1]), signal.SIGKILL)
        with pytest.raises(BudgetSpent, match="2000 of 2000 calls"):
            await ask(owner, "one more")
        assert await ask(owner, "load0") == {"name": "load0"}

    asyncio.run(scenario())
