"""CPU actors that carry whole groups from task to reward: one remote call per group."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import ObjectLostError, RayActorError

from actors.calls import ask
from actors.config import RolloutWorkersConfig
from actors.losses.stacks import answer_with_stacks
from actors.metered.shared_calls import silences
from actors.store.ledger import Ledger
from rollout.roles import GroupRollout
from rollout.single_step import failed_group
from rollout.types import Group, GroupRequest

MAX_DEATHS = 3
"""Workers that may die with a group before the group is blamed."""
_RETRY_S = 1.0
"""Between the deaths of workers that never came up: Ray may still send them to a node that is gone."""


class _Worker:
    def __init__(self, rollout: GroupRollout, ledger: Ledger | None):
        answer_with_stacks()
        self._rollout = rollout
        self._ledger = ledger

    async def roll_out(self, request: GroupRequest) -> bytes:
        """Return the group pickled: as an object of Ray's, each of its arrays would keep the whole message alive."""
        group = await self._rollout.roll_out(request)
        if self._ledger is not None:  # before the reply: nothing is trained on that is not on disk
            await self._ledger.record(request, group)
        return bytes(cloudpickle.dumps(group, protocol=5))

    async def stats(self) -> dict[str, float]:
        return await self._rollout.stats()

    async def silences(self) -> list[str]:
        return silences()


@dataclass(eq=False)
class _Slot:
    actor: Any
    num_groups: int = 0
    is_up: bool = True
    """False: Ray has yet to start its actor, or to find a node with room for it."""


class RolloutWorkers:
    """A fixed number of workers; a dead one is replaced and its groups go to another.

    The others carry all groups until the new one is up; where no node has room for it, they go on alone.
    """

    def __init__(self, config: RolloutWorkersConfig, rollout: GroupRollout, ledger: Ledger | None = None):
        self._worker_arguments = ray.put(rollout), ray.put(ledger)
        self._ledger = ledger
        # One worker may have to carry all groups; a few calls beyond them, so that `stats` never waits behind them.
        self._make = ray.remote(_Worker).options(
            num_cpus=config.cpus_per_worker,
            max_concurrency=config.num_workers * config.groups_per_worker + 4,
            scheduling_strategy="SPREAD",
        )
        self._groups_per_worker = config.groups_per_worker
        self._slots = [_Slot(self._make.remote(*self._worker_arguments)) for _ in range(config.num_workers)]
        self._places = asyncio.Semaphore(config.num_workers * config.groups_per_worker)
        self._num_deaths = 0
        self._starting: set[asyncio.Task[None]] = set()
        self._is_stopped = False

    @classmethod
    async def start(
        cls, config: RolloutWorkersConfig, rollout: GroupRollout, ledger: Ledger | None = None
    ) -> RolloutWorkers:
        """Start the workers and return once each has its rollout. Ray must be initialized.

        Every group is committed to the ledger before it is returned.
        """
        workers = cls(config, rollout, ledger)
        await asyncio.gather(*(ask(slot.actor.stats) for slot in workers._slots))
        return workers

    async def roll_out(self, request: GroupRequest) -> Group:
        """Return a group, rolled out by the least loaded worker.

        Waits while every worker is full. Cancelling it cancels the remote work. What the rollout raises is
        raised here; what was under way at `stop`, RuntimeError. A task that kills `MAX_DEATHS` workers is given up: its
        samples count as failed.
        """
        async with self._places:
            for _ in range(MAX_DEATHS):
                slot = await self._least_loaded()
                actor = slot.actor
                slot.num_groups += 1
                try:
                    group: Group = cloudpickle.loads(await ask(actor.roll_out, request))
                    return group
                except (RayActorError, ObjectLostError) as error:
                    if self._is_stopped:
                        raise RuntimeError("the rollout workers were stopped") from error
                    last = error
                    if isinstance(error, RayActorError):  # else its answer alone is lost, with the node that had it
                        self._replace(slot, actor)
                finally:
                    slot.num_groups -= 1
        lost = failed_group(request, f"{MAX_DEATHS} workers died with it, the last: {last}"[:500])
        if self._ledger is not None:
            await self._ledger.record(request, lost)
        return lost

    async def stats(self) -> dict[str, float]:
        """Return the rollouts' stats, added up over the workers, and `rollout_workers/...`."""
        # One that is dead at the moment does not answer, and its counts are lost; a new one might keep us waiting.
        answers = await asyncio.gather(
            *(ask(slot.actor.stats) for slot in self._slots if slot.is_up), return_exceptions=True
        )
        total: Counter[str] = Counter()
        for answer in answers:
            if isinstance(answer, dict):
                total.update(answer)
        return {**total, **self.own_stats()}

    def actors(self) -> dict[str, Any]:
        """Return the workers of this moment, by names for messages."""
        return {f"rollout worker {number}": slot.actor for number, slot in enumerate(self._slots)}

    def own_stats(self) -> dict[str, float]:
        """Return only `rollout_workers/...`, without asking a worker."""
        return {"rollout_workers/deaths": float(self._num_deaths)}

    async def stop(self) -> None:
        """Kill the workers; none is replaced."""
        self._is_stopped = True
        for task in self._starting:
            task.cancel()
        for slot in self._slots:
            ray.kill(slot.actor)

    async def _least_loaded(self) -> _Slot:
        """Return the least loaded worker of those that are up; while there is none, wait for new ones."""
        for _ in range(MAX_DEATHS):
            if self._starting and not any(slot.is_up for slot in self._slots):
                await asyncio.wait(self._starting, return_when=asyncio.FIRST_COMPLETED)
        return min(self._slots, key=lambda slot: (not slot.is_up, slot.num_groups))

    def _replace(self, slot: _Slot, dead: object) -> None:
        if slot.actor is dead and not self._is_stopped:
            self._num_deaths += slot.is_up
            ray.kill(dead)  # it may merely be unreachable
            slot.actor, slot.is_up = self._make.remote(*self._worker_arguments), False
            starting = asyncio.create_task(self._await_start(slot, slot.actor))
            self._starting.add(starting)
            starting.add_done_callback(self._starting.discard)

    async def _await_start(self, slot: _Slot, actor: Any) -> None:
        """Give a slot groups again once its new actor is up, or replace that one, too."""
        try:
            await actor.__ray_ready__.remote()
        except RayActorError:
            await asyncio.sleep(_RETRY_S)
            self._replace(slot, actor)
        else:
            slot.is_up = slot.actor is actor
