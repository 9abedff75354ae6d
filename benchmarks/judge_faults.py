"""What a judge that misbehaves costs a run: `python -m benchmarks.judge_faults [--samples 2000]`.

A real HTTP server on loopback plays the judge: well, then with one call in ten failing (429 with Retry-After,
500, 30 s of silence, dropped connection, torn body, torn JSON, prose around JSON, score 80, NaN, refusal), then
the same with a second request for stragglers. A few questions get a score of 80 whatever is tried: their samples
have to fail. Samples go the whole way, through rollout workers, the owner of the judge's calls and the ledger;
policy and generator are fakes, which make distinct images at the pace of a real generator.

Every figure of ours is held against the server's own record. Prints a table; exit code 1 where a sample was lost,
counted twice or rewarded by mistake, where a count differs, or where throughput falls below 85 % of the healthy
endpoint's though its slots are at most 60 % busy.
"""

import argparse
import asyncio
import hashlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

from actors.cluster import ray_cluster
from actors.config import JudgeConfig, RolloutWorkersConfig
from actors.judge.judge import start_judge
from actors.metered.config import EndpointConfig
from actors.rollout_worker import RolloutWorkers
from actors.store.ledger import read_ledger
from actors.store.ledger_writer import start_ledger
from actors.store.store import Store
from rewards.compose import TermConfig, WeightedSum
from rollout.concurrency import all_of
from rollout.single_step import SingleStep
from rollout.text.critique import format_critique
from rollout.types import Critique, EditRequest, Group, GroupRequest, Sample, SamplingParams, Scores, Task
from tests.support.fakes import FakeGenerator, FakeSampler
from tests.support.misbehaving_judge import Asked, MisbehavingJudge, Plan, bad_days, scores_of

KEY = "MISBEHAVING_JUDGE_KEY"
TERMS = [TermConfig("rewards.format.is_parsed", 0.5, "format"), TermConfig("rewards.stepwise.semantic_gain", 0.5)]
GROUP = 8
FEWEST_SHARE, MOST_BUSY = 0.85, 0.60


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


@dataclass
class Outcome:
    """What a load came to."""

    samples: list[Sample]
    wall_s: float
    stats: dict[str, float]
    faults: Counter[str]
    """By kind, as the server recorded them."""
    busy_share: float
    breaches: list[str] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        return len(self.samples) / self.wall_s

    def count(self, name: str) -> int:
        return round(self.stats.get(f"judge/{name}", 0.0))


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
    outcome.breaches = [*breaches(load, outcome, server)]
    if has_ray:
        outcome.breaches += ledger_breaches(load, folder)
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


def breaches(load: Load, outcome: Outcome, server: MisbehavingJudge) -> Sequence[str]:
    """Return what is not as it must be: samples first, then counts."""
    found = []
    samples, answered = outcome.samples, server.answered()
    names = Counter((sample.task_id, sample.index) for sample in samples)
    if len(samples) != load.num_samples or max(names.values()) > 1:
        found.append(f"{len(samples)} samples, {len(names)} of them distinct, for {load.num_samples}")
    for sample in samples:
        image = sample.evidence.image if sample.evidence else None
        has_answers = {(image, 1), (image, 2)} <= answered
        if (sample.reward is None) == (sample.failure is None):
            found.append(f"{sample.task_id}/{sample.index} has a reward and a failure, or neither")
        elif (sample.reward is not None) != has_answers:
            found.append(f"{sample.task_id}/{sample.index}: {sample.failure} though the judge answered: {has_answers}")
        elif sample.reward is not None and not _is_of(sample, image):
            found.append(f"{sample.task_id}/{sample.index} has the scores of another image")
    return found + count_breaches(outcome, server)


def _is_of(sample: Sample, image: str | None) -> bool:
    scores = sample.evidence.scores if sample.evidence else None
    return (
        scores is not None
        and image is not None
        and (scores.semantics, scores.quality) == (min(scores_of(image, 2)), min(scores_of(image, 1)))
    )


def count_breaches(outcome: Outcome, server: MisbehavingJudge) -> list[str]:
    """Compare our counts with the server's, kind by kind.

    A request that lost against its hedge was cancelled, whatever the server was about to answer, or before it
    had reached the server at all: with hedges the counts may differ by the cancelled requests, without them by
    nothing.
    """
    found = []
    ours = {name.removeprefix("judge/faults/"): round(n) for name, n in outcome.stats.items() if "/faults/" in name}
    cancelled, attempts = outcome.count("cancelled"), outcome.count("attempts")
    if attempts != outcome.count("answers") + sum(ours.values()) + cancelled:
        found.append(f"{attempts} attempts are not answers, faults {ours} and {cancelled} cancelled ones")
    theirs = outcome.faults | {"answer": server.served()["good"]}
    missed = {kind: theirs[kind] - n for kind, n in (ours | {"answer": outcome.count("answers")}).items()}
    missed |= {kind: theirs[kind] for kind in theirs.keys() - missed.keys()}
    if min(missed.values()) < 0 or sum(missed.values()) > cancelled or not 0 <= attempts - server.seen() <= cancelled:
        found.append(f"the server counted {server.seen()} requests, {attempts} are ours; it counted more: {missed}")
    if not cancelled and any(missed.values()):
        found.append(f"without a cancelled request the server counted more: {missed}")
    if outcome.count("answers") != len(server.answered()):
        found.append(f"{outcome.count('answers')} answers paid for {len(server.answered())} questions")
    tokens = [outcome.count("tokens_in"), outcome.count("tokens_out")]
    if not cancelled and tokens != server.tokens:
        found.append(f"{tokens} tokens on the bill, but the server counted {server.tokens}")
    return found


def ledger_breaches(load: Load, folder: Path) -> list[str]:
    """Count the samples once more, in the run's ledger."""
    names = Counter((row["task_id"], row["index"]) for row in read_ledger(folder / "ledger"))
    if len(names) == names.total() == load.num_samples:
        return []
    return [f"the ledger has {names.total()} samples, {len(names)} of them distinct"]


async def compare(load: Load, *, has_ray: bool = True) -> dict[str, Outcome]:
    """Run the load on a healthy endpoint, on one in trouble, and on that one with hedges."""
    outcomes = {}
    for name, plan, hedge_after_s in (
        ("healthy", lambda asked: "good", 0.0),
        ("10 % failing", troubled(load), 0.0),
        ("10 % failing, hedged", troubled(load), 4 * load.latency_s),
    ):
        with MisbehavingJudge(plan) as server, tempfile.TemporaryDirectory(prefix="judge-faults-") as folder:
            outcomes[name] = await judged(load, server, Path(folder), hedge_after_s=hedge_after_s, has_ray=has_ray)
    healthy = outcomes["healthy"]
    for name, outcome in outcomes.items():
        if max(healthy.busy_share, outcome.busy_share) > MOST_BUSY:
            outcome.breaches.append(f"slots are {outcome.busy_share:.0%} busy: throughput says nothing, lower the pace")
        if outcome.per_s < FEWEST_SHARE * healthy.per_s:
            outcome.breaches.append(f"{name}: throughput is {outcome.per_s / healthy.per_s:.0%} of the healthy one's")
    return outcomes


def show(outcomes: dict[str, Outcome], console: Console) -> None:
    table = Table(title="a judge that misbehaves, by our counts", title_justify="left")
    table.add_column("")
    for name in outcomes:
        table.add_column(name, justify="right")
    rows: list[tuple[str, Callable[[Outcome], str]]] = [
        ("samples", lambda one: f"{len(one.samples)}"),
        ("with a reward", lambda one: f"{sum(sample.is_valid for sample in one.samples)}"),
        ("failed", lambda one: f"{sum(not sample.is_valid for sample in one.samples)}"),
        ("seconds", lambda one: f"{one.wall_s:.1f}"),
        ("samples a second", lambda one: f"{one.per_s:.2f}"),
        ("of the healthy endpoint's", lambda one: f"{one.per_s / outcomes['healthy'].per_s:.1%}"),
        ("slots busy", lambda one: f"{one.busy_share:.1%}"),
        ("answers paid for", lambda one: f"{one.count('answers')}"),
        ("attempts", lambda one: f"{one.count('attempts')}"),
        ("second requests", lambda one: f"{one.count('hedges')}"),
        ("cancelled", lambda one: f"{one.count('cancelled')}"),
        ("latency p50, s", lambda one: f"{one.stats.get('judge/latency_p50_s', 0.0):.2f}"),
        ("latency p95, s", lambda one: f"{one.stats.get('judge/latency_p95_s', 0.0):.2f}"),
    ]
    for title, cell in rows:
        table.add_row(title, *map(cell, outcomes.values()))
    for kind in sorted({kind for one in outcomes.values() for kind in one.faults}):
        cells = (f"{one.count(f'faults/{kind}')} of {one.faults[kind]}" for one in outcomes.values())
        table.add_row(f"{kind}: ours of its", *cells)
    console.print(table)
    for name, outcome in outcomes.items():
        for breach in outcome.breaches[:10]:
            console.print(f"[red]{name}: {breach}[/]")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=Load.num_samples)
    parser.add_argument("--pace", type=float, default=Load.images_per_s, help="images a second")
    chosen = parser.parse_args()

    async def scenario() -> dict[str, Outcome]:
        async with ray_cluster("", 4):
            return await compare(Load(num_samples=chosen.samples, images_per_s=chosen.pace))

    outcomes = asyncio.run(scenario())
    show(outcomes, Console(highlight=False, soft_wrap=True))
    return int(any(outcome.breaches for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
