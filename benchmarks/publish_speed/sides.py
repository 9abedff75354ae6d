"""Both sides of a publish as Ray actors: a policy that is only tensors, a sampler that is only a model."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
import torch

from actors.weights.receive import WeightReceiver
from actors.weights.send import Sender
from actors.weights.transport.choose import place_of
from actors.weights.transport.object_store import RelayedEnd
from actors.weights.transport.ring import Ring
from actors.weights.wire import Manifest, Order, Ticket, Verdict, WorkerState
from benchmarks.publish_speed import before
from benchmarks.publish_speed.layer import Layers, shapes_of


@dataclass(frozen=True)
class Setting:
    """What is published."""

    num_layers: int = 1
    device: str = "cpu"
    dtype: str = "float32"

    @property
    def num_bytes(self) -> int:
        size = getattr(torch, self.dtype).itemsize
        return sum(torch.Size(shape).numel() for shape in shapes_of(self.num_layers).values()) * int(size)


@ray.remote(num_cpus=0, max_concurrency=8)
class Receiving:
    """A sampler whose engine is nothing but a model."""

    def __init__(self, setting: Setting) -> None:
        torch.set_num_threads(1)
        self.setting, self.shapes = setting, shapes_of(setting.num_layers)
        self.model = Layers(setting.num_layers, setting.device, getattr(torch, setting.dtype))
        self.receiver = WeightReceiver()
        self.received: dict[str, int] = {}

    async def state(self) -> WorkerState:
        parts = self.receiver.parts(self.model, self.shapes)
        place = place_of(next(self.model.parameters()).device)
        return WorkerState(self.receiver.process, place, parts, self.receiver.version)

    async def receive(self, tickets: Sequence[Ticket]) -> None:
        [ticket] = tickets
        if isinstance(ticket.end, RelayedEnd):
            self.ring = Ring(ticket.end.block_bytes, 1, torch.device("cpu"))
            ticket = replace(ticket, end=self.ring.ends()[0])
        dtype = getattr(torch, ticket.dtype)
        await asyncio.to_thread(
            self.receiver.receive, self.model, ticket.end.open(), dtype, ticket.shapes, ticket.base_version
        )

    async def relay(self, block: Any) -> None:
        def pass_on() -> None:
            self.ring.block()[: len(block)].copy_(torch.from_numpy(block))
            self.ring.commit(len(block))

        await asyncio.to_thread(pass_on)

    async def verify(self, manifest: Manifest) -> Verdict:
        return self.receiver.verify(self.model, manifest)

    async def load_bucket(self, bucket: before.Bucket) -> None:
        before.load(self.model, bucket, self.received)

    async def differing(self, sums: dict[str, int]) -> tuple[set[str], bool]:
        return before.differing(self.model, sums, self.shapes), self.received == sums


@ray.remote(num_cpus=0)
class Sending:
    """A policy of one rank that is nothing but tensors."""

    def __init__(self, receiver: Any, setting: Setting):
        torch.set_num_threads(1)
        self.setting, self.shapes = setting, shapes_of(setting.num_layers)
        dice = torch.Generator(setting.device).manual_seed(0)
        how: dict[str, Any] = {"device": setting.device, "dtype": getattr(torch, setting.dtype), "generator": dice}
        self.weights = {name: torch.randn(shape, **how) for name, shape in self.shapes.items()}
        self.copies = {name: tensor.clone() for name, tensor in self.weights.items()}
        self.receiver, self.sender = receiver, Sender()
        self.version = 0

    def copy(self) -> float:
        """Return the seconds that a plain copy takes."""
        self._wait()
        started = time.perf_counter()
        for name, tensor in self.weights.items():
            self.copies[name].copy_(tensor)
        self._wait()
        return time.perf_counter() - started

    def change(self, share: float) -> None:
        """Change a share of the values."""
        self.version += 1
        for tensor in self.weights.values():
            tensor.view(-1)[:: round(1 / share)] += 1.0

    def publish(self, way: str) -> dict[str, float]:
        """Publish and compare; return seconds of the whole, of the transfer and of checksums."""
        self._wait()
        started = time.perf_counter()
        state = ray.get(self.receiver.state.remote())
        transport = "auto" if way == "changes" else way
        order = Order(
            self.version,
            self.setting.dtype,
            64 << 20,
            transport,
            ((state,),),
            self.shapes,
            keeps_copy=way == "changes",
        )
        manifest = self.sender.send(self.weights.items(), [self.receiver], order)
        verdict = ray.get(self.receiver.verify.remote(manifest))
        assert (verdict.problems, verdict.coverage) == ((), 1.0), verdict
        return {
            "whole": time.perf_counter() - started,
            "transfer": manifest.metrics["publish/transfer_seconds"],
            "verification": manifest.metrics["publish/checksum_seconds"] + verdict.seconds,
            "bytes": float(manifest.num_bytes),
        }

    def _wait(self) -> None:
        if self.setting.device == "cuda":
            torch.cuda.synchronize()

    def publish_as_before(self) -> dict[str, float]:
        """Publish as it was done; its parts overlap, so that only the whole can be told."""
        started = time.perf_counter()
        sums = before.push(self.weights, self.receiver)
        assert ray.get(self.receiver.differing.remote(sums)) == (set(), True)
        return {"whole": time.perf_counter() - started, "bytes": float(sum(w.nbytes for w in self.weights.values()))}
