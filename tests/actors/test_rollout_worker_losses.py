"""Groups of workers that are lost with their node, without Ray: what it would answer is scripted."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.exceptions import ActorDiedError, ObjectLostError

from actors import rollout_worker
from actors.config import RolloutWorkersConfig
from actors.rollout_worker import RolloutWorkers
from rollout.types import Group, GroupRequest, Scores, Task

NO_ROLLOUT: Any = None
"""Its workers are scripted, too."""
LOST = ObjectLostError("00", "127.0.0.1:1", "")


class Actor:
    """Rolls out groups as it is told: an error, or a group once `go` is set; up once `comes_up` is."""

    def __init__(self, number: int):
        self.number = number
        self.errors: list[Exception] = []
        self.start_error: Exception | None = None
        self.comes_up, self.go, self.num_groups = asyncio.Event(), asyncio.Event(), 0
        self.roll_out = SimpleNamespace(remote=self._roll_out)
        self.stats = SimpleNamespace(remote=self._stats)
        self.__ray_ready__ = SimpleNamespace(remote=self._ready)

    async def _roll_out(self, request):
        self.num_groups += 1
        await self.go.wait()
        if self.errors:
            raise self.errors.pop(0)
        return cloudpickle.dumps(Group(request.task, ()))

    async def _stats(self):
        await self.comes_up.wait()
        return {"groups": float(self.num_groups)}

    async def _ready(self):
        await self.comes_up.wait()
        if self.start_error is not None:
            raise self.start_error


@pytest.fixture
def actors(monkeypatch):
    """The actors that were made, in their order."""
    made: list[Actor] = []

    def make(*arguments):
        made.append(Actor(len(made)))
        return made[-1]

    maker = SimpleNamespace(options=lambda **options: SimpleNamespace(remote=make))
    monkeypatch.setattr(rollout_worker, "_RETRY_S", 0.0)
    monkeypatch.setattr(
        rollout_worker,
        "ray",
        SimpleNamespace(put=lambda one: one, remote=lambda one: maker, kill=lambda actor: None, cancel=None),
    )
    return made


def request(name: str) -> GroupRequest:
    return GroupRequest(Task(name, "go", "", None, "sha256:0", False, Scores(1, 1)), 1, 0, (5,))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_the_others_carry_on_until_a_new_worker_is_up(actors):
    async def scenario():
        workers = RolloutWorkers(RolloutWorkersConfig(num_workers=2, groups_per_worker=4), NO_ROLLOUT)
        first, second = actors
        first.errors = [ActorDiedError()] * 2
        groups = [asyncio.create_task(workers.roll_out(request(str(number)))) for number in range(4)]
        await settle()
        assert (first.num_groups, second.num_groups) == (2, 2)
        first.go.set()
        await settle()
        new = actors[2]
        assert (new.num_groups, second.num_groups) == (0, 4)  # though it has fewer: it may never find a place
        assert (await asyncio.wait_for(workers.stats(), 1))["rollout_workers/deaths"] == 1
        new.comes_up.set()
        await settle()
        groups.append(asyncio.create_task(workers.roll_out(request("4"))))
        await settle()
        assert new.num_groups == 1
        second.go.set()
        new.go.set()
        assert [group.task.id for group in await asyncio.gather(*groups)] == ["0", "1", "2", "3", "4"]

    async def with_stats():
        for_stats = asyncio.create_task(scenario())
        await settle()
        actors[1].comes_up.set()
        await for_stats

    asyncio.run(with_stats())


def test_a_worker_that_is_lost_before_it_is_up_is_replaced_and_no_groups_death(actors):
    async def scenario():
        workers = RolloutWorkers(RolloutWorkersConfig(num_workers=1, groups_per_worker=4), NO_ROLLOUT)
        actors[0].errors = [ActorDiedError()]
        actors[0].go.set()
        group = asyncio.create_task(workers.roll_out(request("a")))
        for number in range(1, 3):  # Ray sends them to a node that is gone
            await settle()
            actors[number].start_error = ActorDiedError()
            actors[number].comes_up.set()
        await settle()
        actors[3].comes_up.set()
        actors[3].go.set()
        assert (await asyncio.wait_for(group, 5)).task.id == "a"
        assert [actor.num_groups for actor in actors] == [1, 0, 0, 1]
        assert workers.own_stats() == {"rollout_workers/deaths": 1.0}

    asyncio.run(scenario())


def test_a_group_whose_answer_is_lost_is_rolled_out_again_by_the_same_worker(actors):
    async def scenario():
        workers = RolloutWorkers(RolloutWorkersConfig(num_workers=1), NO_ROLLOUT)
        actors[0].errors = [LOST]
        actors[0].go.set()
        assert (await workers.roll_out(request("a"))).task.id == "a"
        assert (len(actors), actors[0].num_groups) == (1, 2)
        assert workers.own_stats() == {"rollout_workers/deaths": 0.0}

    asyncio.run(scenario())


def test_once_stopped_no_worker_is_replaced(actors):
    async def scenario():
        workers = RolloutWorkers(RolloutWorkersConfig(num_workers=1, groups_per_worker=4), NO_ROLLOUT)
        left = asyncio.create_task(workers.roll_out(request("a")))
        await settle()
        await workers.stop()
        actors[0].errors = [ActorDiedError()]
        actors[0].go.set()
        with pytest.raises(RuntimeError, match="were stopped"):
            await left

    asyncio.run(scenario())
    assert len(actors) == 1
