"""Samples that go the whole way through a judge that misbehaves."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from actors.config import JudgeConfig, RolloutWorkersConfig
from actors.judge.judge import start_judge
from actors.metered.config import EndpointConfig
from actors.rollout_worker import RolloutWorkers
from actors.store.ledger_writer import start_ledger
from actors.store.store import Store
from benchmarks.judge_faults.breaches import Outcome, breaches, ledger_breaches
from rewards.compose import TermConfig, WeightedSum
from rollout.concurrency import all_of
from rollout.single_step import SingleStep
from rollout.text.critique import format_critique
from rollout.types import Critique, EditRequest, Group, GroupRequest, SamplingParams, Scores, Task
from tests.support.fakes import FakeGenerator, FakeSampler
from tests.support.misbehaving_judge import Asked, MisbehavingJudge, Plan, bad_days

KEY = "MISBEHAVING_JUDGE_KEY"
TERMS = [TermConfig("rewards.format.is_parsed", 0.5, "format"), TermConfig("rewards.stepwise.semantic_gain", 0.5)]
GROUP = 8


@dataclass(frozen=True)
class Load:
    """How much is asked of the judge, and what it is like."""

    num_samples: int = 2000
    images_per_s: float = 20.0
    """Pace of the generator: two calls to the judge an image."""
    latency_s: float = 0.25
    silence_s: float = 30.0
    retry_after_s: float = 1.0
    num_slots: int = 32
    timeout_s: float = 20.0
    """The first attempt may take half of it."""
    num_workers: int = 2
    groups_per_worker: int = 32
    bad_share: float = 0.10
    hopeless_share: float = 0.002


class DistinctSampler(FakeSampler):
    """Asks for another picture each time."""

    async def sample(self, request):
        response = await super().sample(request)
        text = format_critique(Critique(False, f"a box, number {request.seed}", "looks wrong"))
        return type(response)(response.prompt_token_ids, response.token_ids, text, response.logprobs, 0)


class PacedPainter(FakeGenerator):
    """Commits an image of its own for each request, so many a second."""

    def __init__(self, root: str, images_per_s: float):
        super().__init__()
        self.store = Store(root)
        self.interval_s = 1 / images_per_s
        self.next_at = 0.0

    async def edit(self, request: EditRequest) -> str:
        self.requests.append(request)
        now = time.monotonic()
        at = self.next_at = max(now, self.next_at + self.interval_s)
        await asyncio.sleep(at - now)
        pixels = hashlib.sha256(f"{request.prompt} {request.seed}".encode()).digest()
        return await asyncio.to_thread(self.store.put_image, Image.frombytes("RGB", (2, 5), pixels[:30]))


def troubled(load: Load) -> Plan:
    """Misbehave at a share of calls, and at a few questions whatever is tried."""
    bad_day = bad_days(load.bad_share)

    def plan(asked: Asked) -> str:
        digest = hashlib.sha256(f"hopeless{asked.question}".encode()).digest()
        is_hopeless = int.from_bytes(digest[:4]) < load.hopeless_share * 2**32
        return "too_high" if is_hopeless else bad_day(asked)

    return plan


def tasks_of(store: Store, num_tasks: int) -> list[Task]:
    before = store.put_image(Image.new("RGB", (2, 5), "white"))
    after = store.put_image(Image.new("RGB", (2, 5), "grey"))
    return [Task(f"task-{i:04d}", "a box", "a box", before, after, False, Scores(2, 2)) for i in range(num_tasks)]


async def judged(load: Load, server: MisbehavingJudge, folder: Path, *, hedge_after_s: float, has_ray: bool) -> Outcome:
    """Carry all samples through a judge behind `server`, and hold our counts against its record."""
    server.latency_s, server.silence_s = load.latency_s, load.silence_s
    server.retry_after_s = load.retry_after_s
    os.environ.setdefault(KEY, "none")
    config = JudgeConfig(
        kind="openai",
        model="judge-1",
        endpoints=[EndpointConfig(server.url, KEY, has_proxy=False, max_concurrency=load.num_slots)],
        num_replicas=int(has_ray),
        timeout_s=load.timeout_s,
        hedge_after_s=hedge_after_s,
    )
    store = Store(folder / "store")
    judge = await start_judge(config, store.root, "judge", folder / "ledger")
    pace = load.images_per_s / (load.num_workers if has_ray else 1)
    painter = PacedPainter(str(store.root), pace)
    journey = SingleStep(
        DistinctSampler(), painter, judge, WeightedSum(TERMS), "<image><image>{instruction}", SamplingParams()
    )
    async with carriers(load, journey, folder, has_ray) as roll_out:
        began = time.monotonic()
        requests = [GroupRequest(task, GROUP, 0, (7,)) for task in tasks_of(store, load.num_samples // GROUP)]
        groups = await all_of(map(roll_out, requests))
        wall_s = time.monotonic() - began
        stats = await judge.stats()
    busy_share = stats["judge/seconds"] / (wall_s * load.num_slots)
    samples = [sample for group in groups for sample in group.samples]
    outcome = Outcome(samples, wall_s, stats, server.faults(), busy_share)
    outcome.breaches = [*breaches(load.num_samples, outcome, server)]
    if has_ray:
        outcome.breaches += ledger_breaches(load.num_samples, folder)
    return outcome


@asynccontextmanager
async def carriers(
    load: Load, journey: SingleStep, folder: Path, has_ray: bool
) -> AsyncIterator[Callable[[GroupRequest], Awaitable[Group]]]:
    """Start what carries groups: rollout workers with a ledger, or this process alone."""
    if has_ray:
        ledger = start_ledger(folder / "ledger", store=Store(folder / "store"))
        ledger.begin(1)
        settings = RolloutWorkersConfig(num_workers=load.num_workers, groups_per_worker=load.groups_per_worker)
        workers = await RolloutWorkers.start(settings, journey, ledger)
        yield workers.roll_out
        await workers.stop()
        return
    places = asyncio.Semaphore(load.num_workers * load.groups_per_worker)

    async def roll_out(request: GroupRequest) -> Group:
        async with places:
            return await journey.roll_out(request)

    yield roll_out
