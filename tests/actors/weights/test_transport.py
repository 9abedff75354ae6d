"""Ways from one process to another: which is taken, what arrives, and who is told when one side is gone."""

import threading
from collections.abc import Callable

import pytest
import torch

from actors.weights.blocks import Channel, TransferError, Writer, read
from actors.weights.transport import ring
from actors.weights.transport.broadcast import Broadcast, BroadcastGroup
from actors.weights.transport.choose import transport_between
from actors.weights.transport.ring import Ring
from actors.weights.wire import Place, ReceivingEnd

CPU = torch.device("cpu")
NUM_READERS, ROWS = 2, 400_000
"""Rows of four values: 6.4 MB, more blocks than a ring has."""


class Reader(threading.Thread):
    """Takes what comes."""

    def __init__(self, end: ReceivingEnd):
        super().__init__(daemon=True)
        self.arrived, self.error = torch.zeros(ROWS, 4), ""
        self._end = end
        self.start()

    def run(self) -> None:
        try:
            for block in self._end.open():
                for piece in read(block, torch.float32, {"w": 4}):
                    rows = piece.values.view(-1, 4)
                    self.arrived[piece.start : piece.start + len(rows)] = rows
        except TransferError as error:
            self.error = str(error)


def send(channel: Channel, weights: torch.Tensor) -> None:
    writer = Writer(channel, torch.float32)
    writer.rows("w", weights)
    writer.end()
    channel.finish()


def ring_channel() -> Callable[[], tuple[Channel, list[ReceivingEnd]]]:
    made = Ring(1 << 20, NUM_READERS, CPU)
    return lambda: (made, [*made.ends()])


def broadcast_channel() -> Callable[[], tuple[Channel, list[ReceivingEnd]]]:
    group = BroadcastGroup("127.0.0.1", NUM_READERS, CPU)
    return lambda: (Broadcast(group, 1 << 20, lambda: None), [*group.ends(1 << 20)])


@pytest.mark.parametrize("make", [ring_channel, broadcast_channel])
def test_every_receiver_gets_everything(make, monkeypatch):
    opened = make()
    for seed in range(3):  # a ring and a group last for many transfers
        weights = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(seed))
        channel, ends = opened()
        readers = [Reader(end) for end in ends]
        send(channel, weights)
        for reader in readers:
            reader.join(30)
            assert reader.arrived.equal(weights)


def test_receivers_are_told_that_the_sender_broke_off():
    made = Ring(1 << 20, 1, CPU)
    reader = Reader(made.ends()[0])
    made.close()
    reader.join(30)
    assert reader.error == "the sender broke off"


def test_receivers_do_not_wait_forever(monkeypatch):
    monkeypatch.setattr(ring, "STALL_S", 0.1)
    made = Ring(1 << 20, 1, CPU)
    reader = Reader(made.ends()[0])
    reader.join(30)
    assert reader.error == "the sender sent nothing for 0 s"


@pytest.mark.parametrize("make", [ring_channel, broadcast_channel])
def test_the_sender_hears_of_a_receiver_that_is_gone(make):
    class Gone(Exception):
        pass

    def check() -> None:
        raise Gone

    channel, _ = make()()
    channel.check = check
    with pytest.raises(Gone):
        send(channel, torch.zeros(ROWS, 4))


@pytest.mark.parametrize(
    ("sender", "receiver", "expected"),
    [
        (Place("a", "1.1.1.1"), Place("a", "1.1.1.1"), "shared_memory"),
        (Place("a", "1.1.1.1"), Place("b", "1.1.1.2"), "broadcast"),
        (Place("a", "1.1.1.1", "GPU-0"), Place("a", "1.1.1.1", "GPU-0"), "cuda_ipc"),
        (Place("a", "1.1.1.1", "GPU-0"), Place("a", "1.1.1.1", "GPU-1"), "broadcast"),
        (Place("a", "1.1.1.1", "GPU-0"), Place("b", "1.1.1.2", "GPU-2"), "broadcast"),
        (Place("a", "1.1.1.1", "GPU-0"), Place("a", "1.1.1.1"), "shared_memory"),
        (Place("a", "1.1.1.1", "GPU-0"), Place("b", "1.1.1.2"), "object_store"),
    ],
)
def test_the_way_is_chosen_by_where_both_are(sender: Place, receiver: Place, expected: str):
    assert transport_between(sender, receiver) == expected
