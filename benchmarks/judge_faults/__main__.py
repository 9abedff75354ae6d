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
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.cluster import ray_cluster
from benchmarks.ending import run_main
from benchmarks.judge_faults.breaches import Outcome
from benchmarks.judge_faults.load import Load, judged, troubled
from tests.support.misbehaving_judge import MisbehavingJudge

FEWEST_SHARE, MOST_BUSY = 0.85, 0.60


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
    run_main(main)
