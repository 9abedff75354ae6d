"""What a verified publish costs on CPU, part by part: `python -m benchmarks.publish_speed`.

1 GB of random float32 in the tensor shapes of the released model goes from one actor to another, by each transport and
as it was done before, in turns; a plain copy of the same bytes is the measure. Exit code 1 where a bar is missed.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
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
from benchmarks.publish_speed.layer import SHAPES, Layer

ROUNDS = 5
VERIFICATION_BAR, TRANSFER_BAR, SPEEDUP_BAR = 2.0, 1.5, 3.0
CHANGED = 0.01
"""Share of the values that change between two publishes of changes."""
WAYS = ("shared_memory", "broadcast", "object_store", "changes")


@ray.remote(num_cpus=0, max_concurrency=8)
class Receiving:
    """A sampler whose engine is nothing but a model."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.model, self.receiver = Layer(), WeightReceiver()
        self.received: dict[str, int] = {}

    async def state(self) -> WorkerState:
        parts = self.receiver.parts(self.model, SHAPES)
        return WorkerState(self.receiver.process, place_of(torch.device("cpu")), parts, self.receiver.version)

    async def receive(self, tickets: Sequence[Ticket]) -> None:
        [ticket] = tickets
        if isinstance(ticket.end, RelayedEnd):
            self.ring = Ring(ticket.end.block_bytes, 1, lambda: None, torch.device("cpu"))
            ticket = replace(ticket, end=self.ring.ends()[0])
        await asyncio.to_thread(
            self.receiver.receive, self.model, ticket.end.open(), torch.float32, SHAPES, ticket.base_version
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
        return before.differing(self.model, sums, SHAPES), self.received == sums


@ray.remote(num_cpus=0)
class Sending:
    """A policy of one rank that is nothing but tensors."""

    def __init__(self, receiver: Any):
        torch.set_num_threads(1)
        dice = torch.Generator().manual_seed(0)
        self.weights = {name: torch.randn(shape, generator=dice) for name, shape in SHAPES.items()}
        self.copies = {name: tensor.clone() for name, tensor in self.weights.items()}
        self.receiver, self.sender = receiver, Sender()
        self.version = 0

    def copy(self) -> float:
        """Return the seconds that a plain copy takes."""
        started = time.perf_counter()
        for name, tensor in self.weights.items():
            self.copies[name].copy_(tensor)
        return time.perf_counter() - started

    def change(self, share: float) -> None:
        """Change a share of the values."""
        self.version += 1
        for tensor in self.weights.values():
            tensor.view(-1)[:: round(1 / share)] += 1.0

    def publish(self, way: str) -> dict[str, float]:
        """Publish and compare; return seconds of the whole, of the transfer and of checksums."""
        started = time.perf_counter()
        state = ray.get(self.receiver.state.remote())
        transport = "shared_memory" if way == "changes" else way
        order = Order(self.version, "float32", 64 << 20, transport, ((state,),), SHAPES, keeps_copy=way == "changes")
        manifest = self.sender.send(self.weights.items(), [self.receiver], order)
        verdict = ray.get(self.receiver.verify.remote(manifest))
        assert (verdict.problems, verdict.coverage) == ((), 1.0), verdict
        return {
            "whole": time.perf_counter() - started,
            "transfer": manifest.metrics["publish/transfer_seconds"],
            "verification": manifest.metrics["publish/checksum_seconds"] + verdict.seconds,
            "bytes": float(manifest.num_bytes),
        }

    def publish_as_before(self) -> dict[str, float]:
        """Publish as it was done; its parts overlap, so that only the whole can be told."""
        started = time.perf_counter()
        sums = before.push(self.weights, self.receiver)
        assert ray.get(self.receiver.differing.remote(sums)) == (set(), True)
        return {"whole": time.perf_counter() - started, "bytes": float(sum(w.nbytes for w in self.weights.values()))}


def main() -> int:
    """Print the table; return 1 where a bar is missed."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        measured = _measure()
    finally:
        ray.shutdown()
    return _print(measured)


def _measure() -> dict[str, list[dict[str, float]]]:
    receiver = Receiving.remote()
    sender = Sending.remote(receiver)
    measured: dict[str, list[dict[str, float]]] = {}
    for number in range(ROUNDS + 1):
        found = {"plain copy": {"whole": ray.get(sender.copy.remote())}}
        for way in WAYS:
            ray.get(sender.change.remote(CHANGED))
            found[way] = ray.get(sender.publish.remote(way))
        found["before"] = ray.get(sender.publish_as_before.remote())
        if number:  # the first round warms up: what vLLM's loader writes, and the copy that changes are found with
            for way, figures in found.items():
                measured.setdefault(way, []).append(figures)
    return measured


def _print(measured: dict[str, list[dict[str, float]]]) -> int:
    def median(way: str, what: str) -> float:
        return statistics.median(figures.get(what, 0.0) for figures in measured[way])

    copy = median("plain copy", "whole")
    num_bytes = sum(torch.Size(shape).numel() for shape in SHAPES.values()) * 4
    print(f"{num_bytes / 1e9:.2f} GB of float32 in {len(SHAPES)} tensors, one thread a side; medians of {ROUNDS}")
    print(f"{'':<16}{'MB sent':>9}{'transfer':>10}{'verification':>14}{'whole':>9}   seconds (plain copies)")
    print(f"{'plain copy':<16}{num_bytes / 1e6:>9.0f}{'':>10}{'':>14}{copy:>9.3f}")
    for way in ("before", *WAYS):
        cells = [f"{median(way, what):.2f} ({median(way, what) / copy:.1f})" for what in ("transfer", "verification")]
        whole = median(way, "whole")
        shown = ["", ""] if way == "before" else cells
        print(
            f"{way:<16}{median(way, 'bytes') / 1e6:>9.0f}{shown[0]:>12}{shown[1]:>14}{whole:>9.3f} ({whole / copy:.1f})"
        )
    bars = {
        "verification, plain copies": (max(median(way, "verification") for way in WAYS) / copy, VERIFICATION_BAR, "<="),
        "shared memory's transfer, plain copies": (median("shared_memory", "transfer") / copy, TRANSFER_BAR, "<="),
        "whole publish, times as fast": (
            median("before", "whole") / median("shared_memory", "whole"),
            SPEEDUP_BAR,
            ">=",
        ),
    }
    missed = False
    for name, (value, bar, sign) in bars.items():
        holds = value <= bar if sign == "<=" else value >= bar
        missed |= not holds
        print(f"{name:<40}{value:>7.2f}  {sign} {bar:g}  {'ok' if holds else 'MISSED'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
