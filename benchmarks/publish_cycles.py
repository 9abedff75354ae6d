"""Every bit in its place after each of many publishes: `python -m benchmarks.publish_cycles [--publishes 200]`.

All weights, some, the vision tower alone or few values change at random, and reach an engine that is whole and one that
is split over two workers, five publishes each in turn, by a transport drawn anew, whole or as changes alone. What the
engine's live model holds is compared with what was sent, to the bit. Then each engine dies in mid-transfer once by each
transport, and has to have all of it once it is back. Prints counts; exit code 1 on any difference, and where one of the
two ways was hardly tried.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from actors.cluster import ray_cluster
from actors.config import SamplerConfig
from actors.sampler.sampler import Samplers
from actors.store.store import Store
from actors.weights.publish import publish
from benchmarks.ending import run_main
from tests.support.faulty_engine import FaultyEngine
from tests.support.tensor_source import TensorSource

TURN = 5
"""Publishes to an engine before the other one's turn."""
TRANSPORTS = ("shared_memory", "broadcast", "object_store")
NUM_DEATHS = 2 * len(TRANSPORTS)
FEWEST_SHARE = 0.1
"""Of the publishes, of each way: whole, as changes alone."""


@dataclass
class Found:
    """What publishes came to."""

    num_publishes: int = 0
    ways: Counter[bool] = field(default_factory=Counter)
    """How many brought changes alone, how many all weights."""
    transports: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """Publishes that left a tensor that is not what was sent, or that could not be compared."""
    num_deaths: int = 0
    """Of engines in mid-transfer, after which a whole publish came to its end."""

    def misses(self) -> list[str]:
        """Return what is wrong, a line each."""
        fewest = min(self.ways[True], self.ways[False])
        rare = fewest <= FEWEST_SHARE * self.num_publishes
        few = self.num_deaths != NUM_DEATHS
        return [
            *self.faults,
            *[f"only {fewest} of {self.num_publishes} publishes went one of the ways"] * rare,
            *[f"{self.num_deaths} deaths in mid-transfer; expected {NUM_DEATHS}"] * few,
        ]


async def publish_often(source: TensorSource, engines: Sequence[Samplers], num_publishes: int) -> Found:
    """Publish what changes at random, five times to each of `engines` (`FaultyEngine`) in turn; compare each time."""
    found = Found()
    for number in range(num_publishes):
        samplers = engines[number // TURN % len(engines)]
        source.change(source.choose(["all", "some", "tower", "few values", "few values", "nothing"]))
        transport = source.choose(TRANSPORTS)
        samplers.config = replace(samplers.config, transport=transport, is_delta=source.choose("yyn") == "y")
        metrics = await publish(source, samplers)
        if metrics["publish/live_coverage"] != 1.0:
            found.faults.append(f"publish {number}: live_coverage is {metrics['publish/live_coverage']}")
        differing = await samplers.each("differing", source.weights)
        if differing != [[]]:
            found.faults.append(f"publish {number} by {transport}: {differing} differ in the engine")
        found.num_publishes += 1
        found.ways[metrics["publish/is_delta"] == 1.0] += 1
        found.transports[transport] += 1
    return found


async def publish_to_the_dying(source: TensorSource, samplers: Samplers, found: Found) -> None:
    """Let an engine die in mid-transfer once by each transport; what it has once it is back is compared, too."""
    for transport in TRANSPORTS:
        samplers.config = replace(samplers.config, transport=transport, is_delta=True)
        await publish(source, samplers)
        source.change("some")
        await samplers.each("set_fault", "death")
        metrics = await publish(source, samplers)
        if metrics["publish/is_delta"] != 0.0:
            found.faults.append(f"an engine that died by {transport} was sent changes alone")
        if await samplers.each("differing", source.weights) != [[]]:
            found.faults.append(f"an engine that died by {transport} differs")
        found.num_deaths += 1


async def _measure(folder: Path, num_publishes: int) -> Found:
    from tests.support.tiny_models import build_tiny_critic

    model, store = build_tiny_critic(folder / "critic"), Store(folder / "store")
    config = SamplerConfig(max_model_len=512, kv_cache_gib=0.25, bucket_mib=1)
    async with ray_cluster("", 2):
        engines = await asyncio.gather(
            *[
                Samplers.start(one, str(model), store_root=store.root, engine_class=FaultyEngine)
                for one in (config, replace(config, tensor_parallel_size=2))
            ]
        )
        source = TensorSource(model)
        found = await publish_often(source, engines, num_publishes)
        for samplers in engines:
            await publish_to_the_dying(source, samplers, found)
        return found


def main(arguments: list[str] | None = None) -> int:
    """Print the counts; return 1 where something is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publishes", type=int, default=200)
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="publishes-") as folder:
        found = asyncio.run(_measure(Path(folder), chosen.publishes))
    return report(found, time.monotonic() - began)


def report(found: Found, seconds: float) -> int:
    """Print what was found; return 1 where something is missed."""
    print(f"{found.num_publishes} publishes in {seconds:.0f} s, the start of two engines included")
    print(f"changes alone {found.ways[True]}, all weights {found.ways[False]}")
    print(", ".join(f"{name} {found.transports[name]}" for name in TRANSPORTS))
    print(f"died in mid-transfer and came back: {found.num_deaths} of {NUM_DEATHS}")
    misses = found.misses()
    print("\n".join(f"missed: {miss}" for miss in misses) or "every bit in its place")
    return int(bool(misses))


if __name__ == "__main__":
    run_main(main)
