"""What the service makes of a load: `python -m benchmarks.service_load [--clients 64] [--seconds 40]`.

Clients on loopback ask for edits, each for the next one when it has the last, of a pool on Ray Serve whose pipelines
cost half a second an image (they sleep, so that any machine can do it; all else is real). Four parts:

    bare     the same pipelines without anything around them, in batches of the same size
    service  all clients through HTTP
    kill     the same, and one replica is killed with SIGKILL
    full     a queue shorter than the clients are many: who is refused (429) comes back as told

Every picture is compared with what it has to be. Prints a table; exit code 1 where a request was lost or answered
wrongly, where no queue was full, or where throughput falls below 95 % of the bare pipelines'.
"""

import argparse
import asyncio
import io
import os
import signal
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import httpx
import numpy as np
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

from actors.cluster import ray_cluster
from actors.config import GeneratorConfig
from actors.generator.generator import Generator
from actors.generator.kind import resolve
from actors.generator.pipeline import Pipeline
from actors.pool import pool_name
from actors.web.config import ServiceConfig
from actors.web.image_service import ImageService
from actors.web.service import build_app
from actors.web.serving import listening
from benchmarks.ending import run_main
from rollout.types import EditRequest
from tests.support.sleeping_pipeline import SECONDS, picture

SIZE = (256, 256)
TINTS = (10, 200)
"""Two before-images: only edits of one of them share a batch."""
FEWEST_SHARE = 0.95
WARM_UP_S = 5.0
"""Of every part, before answers are counted."""


@dataclass
class Tally:
    """What the clients of one part saw."""

    seconds: float
    answered_at: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def per_s(self) -> float:
        """Answers a second between warm-up and the moment from which on nothing more is asked."""
        inside = sum(WARM_UP_S <= at < self.seconds for at in self.answered_at)
        return inside / (self.seconds - WARM_UP_S)

    def percentile(self, share: int) -> float:
        return quantiles(self.latencies, n=100, method="inclusive")[share - 1] if len(self.latencies) > 1 else 0.0


def settings(model: Path, replicas: int, batch: int) -> GeneratorConfig:
    return GeneratorConfig(
        pipeline="tests.support.sleeping_pipeline.SleepingPipeline",
        model=str(model),
        num_replicas=replicas,
        cpus_per_replica=0.1,
        max_batch_size=batch,
        width=SIZE[0],
        height=SIZE[1],
        timeout_s=120,
    )


def bare(config: GeneratorConfig, replicas: int, seconds: float) -> Tally:
    """Call so many pipelines for so long, in full batches."""
    pipelines = [Pipeline(resolve(config)) for _ in range(replicas)]
    before = Image.new("RGB", SIZE, (TINTS[0], 0, 0))
    tally, began = Tally(seconds), time.monotonic()

    def work(pipeline: Pipeline) -> None:
        seed = 0
        while time.monotonic() - began < seconds:
            requests = [EditRequest(None, "a box", seed + n) for n in range(config.max_batch_size)]
            seed += len(requests)
            pipeline.draw([before], None, requests)
            tally.answered_at += [time.monotonic() - began] * len(requests)

    with ThreadPoolExecutor(replicas) as threads:
        list(threads.map(work, pipelines))
    return tally


class Clients:
    """Clients that ask one request after the other."""

    def __init__(self, url: str, part: str, tally: Tally):
        self._url, self._part, self._tally = url, part, tally
        self._began = time.monotonic()
        self._uploads = {tint: _png(Image.new("RGB", SIZE, (tint, 0, 0))) for tint in TINTS}

    async def run(self, count: int) -> None:
        limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
        async with httpx.AsyncClient(base_url=self._url, timeout=180, limits=limits, trust_env=False) as client:
            await asyncio.gather(*(self._work(client, number) for number in range(count)))

    async def _work(self, client: httpx.AsyncClient, number: int) -> None:
        seed = number * 100_000
        while time.monotonic() - self._began < self._tally.seconds:
            seed += 1
            await self._ask(client, f"{self._part} {number}", seed, TINTS[number % len(TINTS)])

    async def _ask(self, client: httpx.AsyncClient, prompt: str, seed: int, tint: int) -> None:
        """Ask until there is an answer; a refusal's wish is followed."""
        tally, sent_at = self._tally, time.monotonic()
        tally.counts["asked"] += 1
        form = {"prompt": prompt, "seed": str(seed)}
        files = {"image_file": ("before.png", self._uploads[tint], "image/png")}
        while True:
            response = await client.post("/edit-upload", data=form, files=files, headers={"Accept": "image/png"})
            if response.status_code != 429:
                break
            tally.counts["429"] += 1
            await asyncio.sleep(float(response.headers["retry-after"]))
        if response.status_code != 200:
            tally.counts[f"HTTP {response.status_code}"] += 1
            return
        with Image.open(io.BytesIO(response.content)) as image:
            is_right = np.array_equal(np.asarray(image), np.asarray(picture(prompt, seed, tint, SIZE)))
        tally.counts["right" if is_right else "wrong"] += 1
        tally.latencies.append(time.monotonic() - sent_at)
        tally.answered_at.append(time.monotonic() - self._began)


async def load(desk: ImageService, part: str, clients: int, seconds: float) -> Tally:
    """Return what the clients saw of a service with this desk."""
    tally = Tally(seconds)
    async with listening(build_app(desk, None), desk.config) as url:
        asking = asyncio.create_task(Clients(url, part, tally).run(clients))
        if part == "kill":
            await asyncio.sleep(seconds / 2)
            os.kill(_replicas(desk.generator)[0], signal.SIGKILL)
        await asking
    return tally


def _replicas(generator: Generator) -> list[int]:
    name = pool_name("generator", generator.store_root)
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if any(f"ServeReplica:{name}" in part for part in child.cmdline())]


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


async def measure(args: argparse.Namespace, folder: Path) -> dict[str, Tally]:
    model = folder / "model"
    model.mkdir()
    config = settings(model, args.replicas, args.batch)
    tallies = {"bare": await asyncio.to_thread(bare, config, args.replicas, args.seconds)}
    async with ray_cluster("", 8):
        generator = await Generator.start(config, folder / "store")
        whole = ImageService(generator, ServiceConfig(port=0, max_pending=4 * args.clients))
        for part in ("service", "kill"):
            tallies[part] = await load(whole, part, args.clients, args.seconds)
        short = ImageService(generator, ServiceConfig(port=0, max_pending=args.clients // 2))
        tallies["full"] = await load(short, "full", args.clients, args.seconds)
        stats = await generator.stats()
        tallies["kill"].counts["sent again"] = int(stats.get("generator/faults/replica_lost", 0))
        tallies["kill"].counts["replicas after"] = await generator.num_running()
    return tallies


def verdicts(tallies: dict[str, Tally]) -> list[str]:
    """Return what is wrong."""
    wrong = []
    for part in ("service", "kill", "full"):
        counts = tallies[part].counts
        if counts["right"] != counts["asked"]:
            wrong.append(f"{part}: {counts['asked']} asked, {counts['right']} answered rightly: {dict(counts)}")
    share = tallies["service"].per_s / tallies["bare"].per_s
    if share < FEWEST_SHARE:
        wrong.append(f"service: {share:.1%} of the bare pipelines' throughput, less than {FEWEST_SHARE:.0%}")
    if not tallies["full"].counts["429"]:
        wrong.append("full: nobody was refused")
    if not tallies["kill"].counts["sent again"]:
        wrong.append("kill: no request was on the replica that was killed")
    return wrong


def show(tallies: dict[str, Tally], console: Console) -> None:
    table = Table(title="pictures of 256x256, as PNG in and out", title_justify="left")
    for column in ("", "images/s", "of bare", "asked", "right", "429", "p50 s", "p99 s"):
        table.add_column(column, justify="right" if column else "left")
    for part, tally in tallies.items():
        counts = tally.counts
        share = tally.per_s / tallies["bare"].per_s
        asked = [f"{counts[name]:,}" if counts else "" for name in ("asked", "right", "429")]
        times = [f"{tally.percentile(share):.2f}" if tally.latencies else "" for share in (50, 99)]
        table.add_row(part, f"{tally.per_s:.2f}", f"{share:.1%}", *asked, *times)
    console.print(table)
    kill = tallies["kill"].counts
    console.print(f"kill: {kill['sent again']} requests sent again, {kill['replicas after']} replicas up at the end")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=40.0, help="each of the four parts; default: 40")
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--image-seconds", type=float, default=0.5, help="what an image costs; default: 0.5")
    args = parser.parse_args()
    os.environ[SECONDS] = str(args.image_seconds)
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="interleave-load-") as folder:
        tallies = asyncio.run(measure(args, Path(folder)))
    show(tallies, console)
    wrong = verdicts(tallies)
    for line in wrong:
        console.print(f"[red]{line}[/]")
    return 1 if wrong else 0


if __name__ == "__main__":
    run_main(main)
