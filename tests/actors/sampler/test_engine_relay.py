"""Blocks of weights that come by Ray's object store, and in which order."""

import asyncio
from typing import Any

import numpy as np
import pytest
import torch

from actors.sampler.engine import Engine
from actors.weights.blocks import TransferError


class Ring:
    def __init__(self):
        self.room, self.committed = torch.zeros(16, dtype=torch.uint8), 0

    def block(self) -> torch.Tensor:
        return self.room

    def commit(self, size: int) -> None:
        self.committed = size


def test_a_block_that_overtakes_the_call_to_receive_it_waits_for_it():
    async def overtake():
        engine = object.__new__(Engine)
        engine._ring = asyncio.get_running_loop().create_future()
        relayed = asyncio.create_task(engine.relay(np.arange(8, dtype=np.uint8)))
        await asyncio.sleep(0.01)
        assert not relayed.done()
        ring: Any = Ring()
        engine._ring.set_result(ring)
        await relayed
        return ring

    ring = asyncio.run(overtake())
    assert (ring.committed, ring.room[:8].tolist()) == (8, list(range(8)))


def test_a_block_for_workers_that_take_no_more_is_refused():
    engine = object.__new__(Engine)
    engine._ring = None
    with pytest.raises(TransferError, match="broke off"):
        asyncio.run(engine.relay(np.zeros(8, np.uint8)))
