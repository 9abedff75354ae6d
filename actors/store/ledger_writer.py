"""The single writer of a run's ledger: an actor on the driver's node that Ray restarts when it dies."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.calls import PATIENCE_S, ask, retry_until_alive
from actors.losses.stacks import answer_with_stacks
from actors.store.append_log import AppendLog, GroupCommit
from actors.store.ledger import SAMPLES, Ledger, LedgerRow, next_attempt
from actors.store.store import Store

_MAX_CONCURRENCY = 4096


class LedgerWriter:
    """Appends to its own log; a restarted writer opens the next one."""

    def __init__(self, folder: str, kind: str):
        answer_with_stacks()
        self._commits = GroupCommit(AppendLog(Path(folder), kind))

    async def append(self, rows: Sequence[LedgerRow]) -> None:
        """Return once the rows are on disk."""
        await self._commits.append(rows)


class RemoteAppender:
    """Sends rows to the writer, and sends them again if it died before confirming them. Picklable."""

    def __init__(self, actor: Any):
        self.actor = actor

    async def append(self, rows: Sequence[LedgerRow]) -> None:
        """Return once the rows are on disk. Raises OSError if they cannot be written."""
        try:
            # The rows are written even if the caller is cancelled: they record what was paid for.
            await retry_until_alive(lambda: asyncio.shield(ask(self.actor.append, rows)))
        except RayActorError as error:
            raise OSError(f"the ledger's writer did not come back within {PATIENCE_S:.0f} s: {error}") from error


def start_ledger(folder: Path, *, store: Store | None = None) -> Ledger:
    """Start the writer on this node and return the ledger of a new attempt. Ray must be initialized."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    make = ray.remote(LedgerWriter).options(
        num_cpus=0, max_restarts=-1, max_concurrency=_MAX_CONCURRENCY, scheduling_strategy=here
    )
    folder = folder.resolve()  # actors do not share the driver's working directory
    return Ledger(folder, RemoteAppender(make.remote(str(folder), SAMPLES)), store, next_attempt(folder))
