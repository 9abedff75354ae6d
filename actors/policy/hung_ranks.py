"""Ranks that hang: a stopped process, or all of them waiting for each other. Nobody else would notice.

A rank answers one call after another, so it cannot be asked while it computes. What is looked at is its process:
whether it runs, how much CPU time it takes, and where its stack is. A rank that computes without an end passes for one
that works.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from actors.losses import stacks
from actors.nodes import kill_process, on_node
from actors.policy.lost_rank import A_RANK, RankLost, telling_lost_rank

EVERY_S = 3.0
STOPPED_S = 9.0
"""How long a rank may be stopped: a debugger, or a machine that is put aside for a moment."""
IDLE_S = 18.0
"""How long all ranks may wait in a collective without any of them computing."""
_IDLE_SHARE = 0.05
"""Of one core: what Ray's threads take of a process that waits."""


@dataclass(frozen=True)
class RankProcess:
    """Where a rank runs."""

    rank: int
    node: str
    pid: int


@dataclass(frozen=True)
class RankSeen:
    """What a rank does."""

    is_stopped: bool
    busy_s: float
    """CPU time since its start, and for how long it wanted more of it: one that gets no core does not hang."""
    stacks: str
    """'' where it does not tell."""
    report: str
    is_gone: bool = False


Look = Callable[[Sequence[RankProcess], bool], Mapping[int, RankSeen]]
"""Looks at ranks, with their stacks if asked for; returns what is seen, by rank. It blocks."""


class HungRanks:
    """Looks at the ranks of a policy while they are in a call of all of them."""

    def __init__(
        self,
        workers: Sequence[Any],
        *,
        find: Callable[[Sequence[Any]], Sequence[RankProcess]] | None = None,
        look: Look | None = None,
        kill: Callable[[RankProcess], None] | None = None,
    ):
        self._workers, self._ranks = workers, tuple[RankProcess, ...]()
        self._find, self._look, self._kill = find or processes_of, look or look_at_ranks, kill or kill_rank

    @asynccontextmanager
    async def ended_in(self, method: str) -> AsyncIterator[None]:
        """Kill all ranks if they hang during what runs inside; raise `RankLost` that says which, where and why.

        A rank that died by itself is told with the stacks of those that wait for it, too.
        """
        self._ranks = self._ranks or tuple(await asyncio.to_thread(self._find, self._workers))
        hung: list[RankLost] = []
        watch = asyncio.create_task(self._watch(method, hung))
        try:
            with telling_lost_rank(method):
                yield
        except Exception as error:
            if hung:
                await watch  # until the others are killed, too
                raise hung[0] from error
            if isinstance(error, RankLost):
                seen = await asyncio.to_thread(self._look, self._ranks, True)
                told = str(error).replace(A_RANK, _who_is_gone(self._ranks, seen) or A_RANK, 1)
                raise RankLost(told, _report(seen)) from error
            raise
        finally:
            watch.cancel()

    async def _watch(self, method: str, hung: list[RankLost]) -> None:
        """Return once the ranks hang: why is in `hung`, and all of them are killed, so that the call of them ends."""
        idle_s, last, stopped_at = 0.0, dict[int, RankSeen](), None
        at = time.monotonic()
        while True:
            await asyncio.sleep(EVERY_S)
            is_suspect = idle_s > 0
            seen = await asyncio.to_thread(self._look, self._ranks, is_suspect)
            passed, at = time.monotonic() - at, time.monotonic()
            # From the first look that shows it: what was before that is not known, however long ago the last look was.
            stopped_at = (stopped_at or at) if any(one.is_stopped for one in seen.values()) else None
            stopped_s = at - stopped_at if stopped_at else 0.0
            are_idle = last and _none_computes(last, seen, passed) and (not is_suspect or _all_wait(last, seen))
            idle_s, last = idle_s + passed if are_idle else 0.0, dict(seen)
            if stopped_s <= STOPPED_S and idle_s <= IDLE_S:
                continue
            told = await asyncio.to_thread(self._look, self._ranks, True)
            if stopped_s > STOPPED_S:
                why = _who_is_stopped(seen, told, stopped_s)
            else:
                why = f"all wait for each other, and none has computed for {idle_s:.0f} s: {_where(told)}"
            hung.append(RankLost(f"the policy hangs in {method}: {why}; its ranks were killed", _report(told)))
            for rank in self._ranks:
                await asyncio.to_thread(self._kill, rank)
            return


def _report(seen: Mapping[int, RankSeen]) -> str:
    return "\n".join(f"rank {rank} of the policy: {one.report}" for rank, one in sorted(seen.items()))


def _who_is_gone(ranks: Sequence[RankProcess], seen: Mapping[int, RankSeen]) -> str:
    """Return which ranks are gone, those of a node that does not answer among them; '' if all are there."""
    gone = [rank for rank in ranks if rank.rank not in seen or seen[rank.rank].is_gone]
    return ", ".join(f"rank {rank.rank} of the policy (process {rank.pid})" for rank in gone)


def _none_computes(last: Mapping[int, RankSeen], seen: Mapping[int, RankSeen], passed_s: float) -> bool:
    return all(one.busy_s - last[rank].busy_s < _IDLE_SHARE * passed_s for rank, one in seen.items() if rank in last)


def _all_wait(last: Mapping[int, RankSeen], seen: Mapping[int, RankSeen]) -> bool:
    """Return whether each rank is in a collective; in that of the last look, where stacks were asked for then."""
    waits = {rank: stacks.collective_of(one.stacks) for rank, one in seen.items()}
    before = {rank: stacks.collective_of(last[rank].stacks) for rank in seen if rank in last and last[rank].stacks}
    return all(waits.values()) and all(waits[rank] == stack for rank, stack in before.items())


def _who_is_stopped(seen: Mapping[int, RankSeen], told: Mapping[int, RankSeen], stopped_s: float) -> str:
    stopped = [rank for rank, one in sorted(seen.items()) if one.is_stopped]
    who = f"rank {', '.join(map(str, stopped))} has been stopped (SIGSTOP) for {stopped_s:.0f} s"
    waiting = {rank: one for rank, one in told.items() if rank not in stopped}
    return f"{who}, and the others wait: {_where(waiting)}" if waiting else who


def _where(seen: Mapping[int, RankSeen]) -> str:
    return ", ".join(f"rank {rank} in {stacks.waits_in(one.stacks) or '?'}" for rank, one in sorted(seen.items()))


def processes_of(workers: Sequence[Any]) -> list[RankProcess]:
    """Return where the ranks of a policy run, asking each; they have to be up."""
    asked = [worker.__ray_call__.remote(_here) for worker in workers]
    return [RankProcess(rank, node, pid) for rank, (node, pid) in enumerate(ray.get(asked))]


def _here(rank: object) -> tuple[str, int]:
    return ray.get_runtime_context().get_node_id(), os.getpid()


def look_at_ranks(ranks: Sequence[RankProcess], with_stacks: bool) -> dict[int, RankSeen]:
    """Look at ranks, each on its node; one whose node does not answer is left out."""
    here = ray.get_runtime_context().get_node_id()
    asked = {
        rank.rank: on_node(rank.node, look_at_process).remote(rank.pid, with_stacks)
        for rank in ranks
        if rank.node != here
    }
    seen = {rank.rank: look_at_process(rank.pid, with_stacks) for rank in ranks if rank.node == here}
    for number, answer in asked.items():
        with suppress(RayError):
            seen[number] = ray.get(answer, timeout=EVERY_S * 3)
    return seen


def look_at_process(pid: int, with_stacks: bool) -> RankSeen:
    """Look at a process of this machine."""
    seen = stacks.look_at(pid)
    told = stacks.stacks_of(pid) if with_stacks else ""
    report = f"on {socket.gethostname()}, {seen}  {stacks.waits_in(told)}\n{told}" if with_stacks else ""
    return RankSeen(seen.is_stopped, seen.cpu_s + seen.queued_s, told, report, is_gone=seen.state == "Z")


def kill_rank(rank: RankProcess) -> None:
    """Kill a rank on its node."""
    kill_process(rank.node, rank.pid)
