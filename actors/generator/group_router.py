"""Edits of one before-image go to one replica of a pool, which shares their batches and what it computed of the image.

An edit leaves that replica for one with a whole batch less to do, so that none is idle while others have a queue. Named
to Ray Serve as the pool's router; it runs in the process that owns the paid calls, through which all edits go.
"""

import zlib
from collections import Counter
from collections.abc import Sequence

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from actors.homes import Homes
from rollout.types import EditRequest


class GroupRouter(RequestRouter):
    """Counts an edit from its choice on: Serve's own counts come too late for edits that come at once."""

    def initialize_state(self, slack: int) -> None:
        """`slack` is how many edits more a replica may have than another one: those of a batch."""
        self._homes = Homes[ReplicaID](slack)
        self._edits: dict[str, tuple[ReplicaID, PendingRequest]] = {}

    async def choose_replicas(
        self, candidate_replicas: Sequence[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the replica to ask, then those that will do if its queue is full."""
        replicas = {one.replica_id: one for one in candidate_replicas}
        if not replicas or pending_request is None or not pending_request.args:
            return [list(candidate_replicas)]
        request = pending_request.args[0]
        assert isinstance(request, EditRequest)
        key = zlib.crc32(repr((request.image, request.references)).encode())
        known = sorted(replicas, key=lambda replica: replica.unique_id)
        turn = key % len(known)  # else every group would begin with the same one
        self._edits.pop(pending_request.metadata.internal_request_id, None)  # it was refused, and is sent once more
        sent = self._counts()
        home = self._homes.choose(key, {one: sent[one] for one in known[turn:] + known[:turn]})
        self._edits[pending_request.metadata.internal_request_id] = home, pending_request
        return [[replicas.pop(home)], list(replicas.values())]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: object) -> None:
        """Note where an edit went."""
        if pending_request.metadata.internal_request_id in self._edits:
            self._edits[pending_request.metadata.internal_request_id] = replica_id, pending_request

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Note that an edit ended, however it did."""
        self._edits.pop(internal_request_id, None)

    def _counts(self) -> Counter[ReplicaID]:
        """Count the edits that each replica has; of those that were cancelled on their way nothing else tells."""
        self._edits = {name: edit for name, edit in self._edits.items() if not edit[1].future.cancelled()}
        return Counter(replica for replica, _ in self._edits.values())
