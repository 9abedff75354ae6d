"""The ranks' side of a publish: rank 0 sends, the others only iterate, since gathering a tensor is a collective."""

import itertools
import time
from collections.abc import Collection, Iterable, Iterator, Sequence

import torch

from actors.weights.blocks import Writer
from actors.weights.checksum import Checksum
from actors.weights.live import Part
from actors.weights.transport.choose import Transfer
from actors.weights.wire import BaseTensor, Manifest, Order

_MAX_DELTA = 0.5
"""Of a tensor's bytes: larger changes are sent as the whole tensor."""
_CHANGE_BYTES = 8
"""Of the place of a changed value."""

Weights = Iterable[tuple[str, torch.Tensor]]


def describe_base_tensors(
    weights: Weights, trained: Collection[str], order: Order, *, is_sender: bool
) -> dict[str, BaseTensor]:
    """Describe (name, tensor) pairs by the parts that workers hold."""
    origins = {}
    for name, tensor in weights:
        if is_sender:
            cast = tensor.to(getattr(torch, order.dtype))
            origins[name] = BaseTensor(tuple(cast.shape), _sums(name, cast, order), name in trained)
    return origins


class Sender:
    """Rank 0's side of all publishes; the other ranks have one to iterate with."""

    def __init__(self) -> None:
        self._copies: dict[str, torch.Tensor] = {}
        """What was sent last, in host memory, where the recipe publishes changes alone."""
        self._version: int | None = None
        """Of the copies."""
        self._transfer = Transfer()

    def send(self, weights: Weights, receivers: Sequence[object] | None, order: Order) -> Manifest:
        """Send weights to the sampler actors `receivers`; None: only iterate."""
        weights = iter(weights)
        try:
            return Manifest() if receivers is None else self._send(weights, receivers, order)
        finally:
            for _ in weights:  # if this failed, the other ranks still gather with this one
                pass

    def _send(self, weights: Iterator[tuple[str, torch.Tensor]], receivers: Sequence[object], order: Order) -> Manifest:
        base = self._base_of(order)
        self._version = None  # until all of it has been sent
        dtype = getattr(torch, order.dtype)
        checksums: dict[str, dict[Part, Checksum]] = {}
        whole: set[str] = set()
        spent, started = {"checksum": 0.0, "gather": 0.0}, time.monotonic()
        first = list(itertools.islice(weights, 1))  # it says where weights are
        device = first[0][1].device if first else torch.device("cpu")
        with self._transfer.open(receivers, order, base, device) as channel:
            writer, before = Writer(channel, dtype), time.monotonic()
            for name, tensor in itertools.chain(first, weights):
                cast = tensor.detach().to(dtype)
                after = time.monotonic()
                checksums[name] = _sums(name, cast, order)
                summed = time.monotonic()
                changes = self._changes(name, cast, order) if base is not None else None
                if changes is None:
                    whole.add(name)
                    writer.rows(name, cast)
                    if order.keeps_copy:
                        self._keep(name, cast)
                else:
                    writer.changes(name, *changes)
                spent["gather"] += after - before
                spent["checksum"] += summed - after
                before = time.monotonic()
            writer.end()
            channel.finish()
        if order.keeps_copy:
            self._version = order.version
        metrics = {
            "publish/gather_seconds": spent["gather"],
            "publish/checksum_seconds": spent["checksum"],
            "publish/transfer_seconds": time.monotonic() - started - sum(spent.values()),
            f"publish/{channel.name}_bytes": float(writer.num_bytes),
            "publish/is_delta": float(base is not None),
            "publish/copy_bytes": float(sum(copy.nbytes for copy in self._copies.values())),
        }
        return Manifest(order.version, checksums, frozenset(whole), writer.num_bytes, metrics=metrics)

    def _base_of(self, order: Order) -> int | None:
        """Return the version that every worker has and whose copy is here: only then changes alone will do."""
        held = {state.version for states in order.states for state in states}
        return self._version if order.keeps_copy and held == {self._version} else None

    def _changes(self, name: str, cast: torch.Tensor, order: Order) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return places and values of what changed, and keep it; None if it is to be sent whole."""
        copy = self._copies.get(name)
        is_placed = all(state.parts.get(name) is not None for states in order.states for state in states)
        if copy is None or copy.shape != cast.shape or not is_placed:
            return None
        bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[cast.element_size()]
        now, then = cast.contiguous().view(-1), copy.to(cast.device).view(-1)
        places = (now.view(bits) != then.view(bits)).nonzero().view(-1)
        if len(places) * (_CHANGE_BYTES + cast.element_size()) > _MAX_DELTA * cast.nbytes:
            return None
        values = now[places]
        copy.view(-1)[places.to(copy.device)] = values.to(copy.device)
        return places, values

    def _keep(self, name: str, cast: torch.Tensor) -> None:
        copy = self._copies.get(name)
        if copy is None or copy.shape != cast.shape or copy.dtype != cast.dtype:
            self._copies[name] = cast.to("cpu", copy=True, memory_format=torch.contiguous_format)
        else:
            copy.copy_(cast)


def _sums(name: str, cast: torch.Tensor, order: Order) -> dict[Part, Checksum]:
    is_for_gpus = cast.is_cuda or order.has_gpus
    return {part: Checksum.of(part.of(cast), is_for_gpus=is_for_gpus) for part in order.parts_of(name)}
