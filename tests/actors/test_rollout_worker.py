"""Groups travel to workers and back whatever happens to the workers."""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from actors.cluster import ray_cluster
from actors.config import RolloutWorkersConfig
from actors.rollout_worker import MAX_DEATHS, RolloutWorkers
from actors.store.ledger import read_ledger
from actors.store.ledger_writer import start_ledger
from rollout.types import Group, GroupRequest, Reward, Sample, Scores, Stage, Task
from tests.support.source_tree import REPO


class FakeJourney:
    """Does what the task's instruction says, and leaves a note in a folder that all workers see."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.num_groups = 0

    async def roll_out(self, request):
        task, seed = request.task, request.seed
        self.num_groups += 1
        note = self.folder / f"{task.id}.{os.getpid()}.{time.monotonic_ns()}"
        note.touch()
        deed, _, detail = task.instruction.partition(" ")
        if deed == "die" and len(list(self.folder.glob(f"{task.id}.*"))) <= int(detail):
            os._exit(1)
        if deed == "raise":
            raise LookupError(detail)
        try:
            await asyncio.sleep(float(detail) if deed == "sleep" else 0.0)
        except asyncio.CancelledError:
            (self.folder / f"{task.id}-cancelled").touch()
            raise
        reward = Reward({}, float(seed))
        note = {"edit_seed": request.edit_seeds[0]}
        return Group(task, tuple(Sample(task.id, i, seed, None, reward, None, note) for i in range(request.n)))

    async def stats(self):
        return {"fake/groups": float(self.num_groups)}


def task(name, instruction="go"):
    return Task(name, instruction, "", None, "sha256:0", False, Scores(1, 1))


async def until(condition):
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("waited 10 s in vain")


def pids(folder, name):
    return {path.name.split(".")[1] for path in folder.glob(f"{name}.*")}


@pytest.mark.slow
def test_workers_carry_groups_through_load_cancellation_and_death(tmp_path, monkeypatch):
    """Slow: starts Ray and several worker processes, and kills some."""
    monkeypatch.setenv("PYTHONPATH", str(REPO))

    async def scenario():
        async with ray_cluster("", 4):
            ledger = start_ledger(tmp_path / "ledger")
            ledger.begin(1)
            workers = await RolloutWorkers.start(
                RolloutWorkersConfig(num_workers=2, groups_per_worker=4), FakeJourney(tmp_path), ledger
            )
            await carries_groups_and_spreads_them(workers)
            await bounds_the_groups_in_flight(workers)
            await cancels_the_remote_work(workers)
            await raises_what_the_journey_raises(workers)
            await carries_over_the_groups_of_a_dead_worker(workers)
            await gives_up_a_group_that_kills_every_worker(workers)
            await workers.stop()
            commits_each_group_once()

    async def carries_groups_and_spreads_them(workers):
        groups = await asyncio.gather(
            *(workers.roll_out(GroupRequest(task(f"t{i}", "sleep 0.2"), 3, i, (5,))) for i in range(8))
        )
        assert [group.task.id for group in groups] == [f"t{i}" for i in range(8)]
        assert [group.rewards for group in groups] == [[float(i)] * 3 for i in range(8)]
        assert groups[0].samples[2].seconds == {"edit_seed": 5}
        assert len({pid for i in range(8) for pid in pids(tmp_path, f"t{i}")}) == 2
        stats = await workers.stats()
        assert (stats["fake/groups"], stats["rollout_workers/deaths"]) == (8, 0)

    async def bounds_the_groups_in_flight(workers):
        waiting = [
            asyncio.create_task(workers.roll_out(GroupRequest(task(f"b{i}", "sleep 60"), 1, 0, (5,))))
            for i in range(10)
        ]
        await until(lambda: len(list(tmp_path.glob("b*.*"))) == 8)
        await asyncio.sleep(0.3)
        assert len(list(tmp_path.glob("b*.*"))) == 8
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def cancels_the_remote_work(workers):
        await until(lambda: len(list(tmp_path.glob("b*-cancelled"))) == 8)
        assert (await workers.roll_out(GroupRequest(task("after"), 1, 0, (5,)))).rewards == [0.0]

    async def raises_what_the_journey_raises(workers):
        with pytest.raises(LookupError, match="nothing there"):
            await workers.roll_out(GroupRequest(task("r", "raise nothing there"), 1, 0, (5,)))

    async def carries_over_the_groups_of_a_dead_worker(workers):
        bystanders = [
            asyncio.create_task(workers.roll_out(GroupRequest(task(f"s{i}", "sleep 2"), 2, i, (5,)))) for i in range(4)
        ]
        await until(lambda: len(list(tmp_path.glob("s*.*"))) == 4)
        killer = await workers.roll_out(GroupRequest(task("k", "die 1"), 2, 9, (5,)))
        assert killer.rewards == [9.0, 9.0]
        assert [(await one).rewards for one in bystanders] == [[float(i)] * 2 for i in range(4)]
        assert len(pids(tmp_path, "k")) == 2
        assert (await workers.stats())["rollout_workers/deaths"] == 1

    async def gives_up_a_group_that_kills_every_worker(workers):
        [lost] = (await workers.roll_out(GroupRequest(task("deadly", "die 99"), 1, 0, (5,)))).samples
        assert lost.failure.stage is Stage.WORKER
        assert lost.failure.error.startswith(f"{MAX_DEATHS} workers died with it")
        assert (await workers.roll_out(GroupRequest(task("next"), 1, 3, (5,)))).rewards == [3.0]

    def commits_each_group_once():
        rows = list(read_ledger(tmp_path / "ledger"))
        handed_over = {f"t{i}": 3 for i in range(8)} | {f"s{i}": 2 for i in range(4)}
        handed_over |= {"after": 1, "k": 2, "deadly": 1, "next": 1}
        assert Counter(row["task_id"] for row in rows) == handed_over
        assert [row["failure"]["stage"] for row in rows if row["failure"]] == ["worker"]

    asyncio.run(scenario())
