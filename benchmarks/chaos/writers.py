"""Scenes of `benchmarks.chaos` around a run's actors: the ledger's writer and the owner of paid calls are killed."""

import asyncio
import random
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import ray

from actors.metered.shared_calls import SharedCalls
from actors.store.append_log import log_paths, read_log
from actors.store.ledger import read_ledger
from actors.store.ledger_writer import start_ledger
from actors.store.store import Store, call_key
from benchmarks.chaos.scene import (
    Found,
    check_store,
    kill_again_and_again,
    newest_writer,
    paid_calls,
    until_killed,
)
from rollout.types import Evidence, Group, GroupRequest, Response, Reward, Sample, Scores, Task

NUM_CALLERS = 48
NUM_PLACES = 16
GROUP = 8


async def kill_ledger_writer(folder: Path, kills: int, dice: random.Random) -> Found:
    """Kill the writer while groups are recorded; each acknowledged row is read back once, as it was."""
    found = Found("ledger", kills)
    ledger = start_ledger(folder)
    ledger.begin(0)
    acknowledged = set()

    async def record(number: int) -> None:
        await ledger.record(*make_group(number))
        acknowledged.add(number)
        found.counts["acknowledged"] += GROUP

    pid = partial(newest_writer, folder, "samples")
    await until_killed(record, kill_again_and_again(pid, found, dice), NUM_CALLERS)
    ray.kill(ledger.appender.actor)
    read = [(row["step"], row["index"], row["reward"]["total"]) for row in read_ledger(folder)]
    rows = {(number, index): total for number, index, total in read}
    found.expect(len(read) == len(rows), f"{len(read) - len(rows)} rows are read twice")
    for number in acknowledged:
        for index in range(GROUP):
            found.expect(rows.get((number, index)) == number / 3 + index, f"row {index} of group {number} is lost")
    found.counts["sent again"] = sum(1 for _ in read_log(folder, "samples")) - len(read)
    found.counts["logs"] = len(log_paths(folder, "samples"))
    return found


def make_group(number: int) -> tuple[GroupRequest, Group]:
    """Return a group whose rewards tell its number."""
    task = Task(f"task-{number % 7}", "a red box", "a red box", None, "sha256:00", False, Scores(2.0, 3.0))
    response = Response((1, 2), (3, 4), f"answer {number} " * 20, (-0.1, -0.2), 0)
    evidence = Evidence(task, response, None, "json")
    samples = (
        Sample(task.id, i, i, evidence, Reward({"step": 1 / (1 + i)}, number / 3 + i), None) for i in range(GROUP)
    )
    return GroupRequest(task, GROUP, 0, (5,), step=number), Group(task, tuple(samples))


async def kill_owner(folder: Path, kills: int, dice: random.Random) -> Found:
    """Kill the owner of paid calls; every answer that was given stays, and no kill costs more than its flights."""
    found = Found("owner", kills)
    owner = await SharedCalls.start(partial(paid_calls, folder, _pay, NUM_PLACES))
    answered = set()

    async def ask(count: int) -> None:
        number = count // 4  # four ask for each answer
        answer = await owner.get({"n": number}, number)
        found.expect(answer["n"] == number, f"the answer to {number} is another's")
        answered.add(number)
        found.counts["acknowledged"] = len(answered)

    pid = partial(newest_writer, folder / "ledger", "calls")
    await until_killed(ask, kill_again_and_again(pid, found, dice), NUM_CALLERS)
    stats = await owner.stats()
    store = Store(folder / "store")
    rows = Counter(row["key"] for row in read_log(folder / "ledger", "calls") if row["outcome"] == "answer")
    for number in answered:
        key = call_key(n=number)
        found.expect((store.get_call(key) or {}).get("answer", {}).get("n") == number, f"answer {number} is lost")
        found.expect(rows[key] > 0, f"the bill has no row of answer {number}")
    payments = Counter((folder / "payments").read_text().split())
    found.counts["paid"], found.counts["bill"] = payments.total(), rows.total()
    found.counts["paid again"] = payments.total() - len(payments)
    found.expect(found.counts["paid again"] <= kills * NUM_PLACES, "more was paid again than was under way")
    found.expect(stats["paid/answers"] == rows.total(), "the owner's count is not that of its rows")
    check_store(store.root, found)
    return found


async def _pay(payments: Path, number: int) -> dict[str, Any]:
    await asyncio.sleep(0.01)
    with payments.open("ab", buffering=0) as file:
        file.write(b"%d\n" % number)
    return {"n": number, "filler": "x" * 2000}
