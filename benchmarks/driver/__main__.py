"""What a sample costs the driver: `python -m benchmarks.driver [--out driver.json]`.

The real driver (stream, training loop, log, batch, the policy's own side, rollout workers through Ray, ledger) goes
through steps of 128 to 16,384 samples of 2,120 + 400 tokens, and through steps before 2 to 256 generators, which bound
how many groups are in flight. Sampler, generators, judge, ranks and image workers are stand-ins that compute next to
nothing (`roles.py`). Each size has a process of its own, so that its peak of memory is its own. Ends with exit code 1
where a bar is missed.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.driver.cost import Case, Cost, bars_of
from benchmarks.ending import run_main

SIZES = (128, 512, 2_048, 8_192, 16_384)
GENERATORS = (2, 8, 32, 128, 256)
USUAL_GENERATORS = 16
SAMPLES_OF_GENERATORS = 4_096
LEAST = 4_096
"""Samples of a size, in as many steps as it takes, and two at least: a step of 128 is over before its cost can be told,
and one alone would not show what the step before it leaves behind."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.driver", description=__doc__)
    parser.add_argument(
        "--sizes", type=_numbers, default=SIZES, help="samples a step, the smallest and largest compared"
    )
    parser.add_argument("--generators", type=_numbers, default=GENERATORS)
    parser.add_argument("--out", type=Path, help="write all figures as JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child:
        from benchmarks.driver.measure import measure  # late: it takes seconds

        print(json.dumps([asdict(cost) for cost in measure([Case(*case) for case in json.loads(chosen.child)])]))
        return 0
    sizes = [_in_child([Case(size, USUAL_GENERATORS, max(2, LEAST // size))])[0] for size in sorted(chosen.sizes)]
    pools = _in_child([Case(SAMPLES_OF_GENERATORS, number, 1) for number in sorted(chosen.generators)])
    return report(sizes, pools, chosen.out)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _in_child(cases: Sequence[Case]) -> list[Cost]:
    """Measure in a process of its own."""
    given = json.dumps([astuple(case) for case in cases])
    command = [sys.executable, "-m", "benchmarks.driver", "--child", given]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return [Cost(**cost) for cost in json.loads(lines[-1])]


def report(sizes: Sequence[Cost], pools: Sequence[Cost], out: Path | None = None) -> int:
    """Print tables and bars; return 1 where one is missed."""
    console = Console(soft_wrap=True, width=140)
    console.print(_table("samples a step", [(cost.samples, cost) for cost in sizes]))
    title = f"generators, at {SAMPLES_OF_GENERATORS:,} samples a step"
    console.print(_table(title, [(cost.generators, cost) for cost in pools]))
    largest = sizes[-1]
    console.print(
        f"at {largest.samples:,} samples a step one core of the driver is full at {1e3 / largest.driver_ms:,.0f} "
        f"samples/s, its event loop at {1e3 / largest.loop_ms:,.0f}"
    )
    bars = bars_of(sizes)
    for bar in bars:
        console.print(f"{bar.name:<60}{bar.value:>8.2f}  <= {bar.most:g}  {'ok' if bar.is_met else 'MISSED'}")
    if out is not None:
        found = {"sizes": [asdict(cost) for cost in sizes], "generators": [asdict(cost) for cost in pools]}
        out.write_text(json.dumps(found | {"bars": [asdict(bar) for bar in bars]}, indent=1))
    return int(not all(bar.is_met for bar in bars))


def _table(title: str, costs: Sequence[tuple[int, Cost]]) -> Table:
    table = Table(title_justify="left")
    table.add_column(title, justify="right")
    for name in (
        "driver ms",
        "of it loop ms",
        "of it looking ms",
        "driver kB",
        "store kB",
        "workers ms",
        "samples/s here",
        "full core samples/s",
    ):
        table.add_column(name, justify="right")
    for number, cost in costs:
        figures = (cost.driver_ms, cost.loop_ms, cost.looking_ms, cost.driver_kb, cost.store_kb, cost.workers_ms)
        rates = (cost.samples_per_s, 1e3 / cost.driver_ms)
        table.add_row(f"{number:,}", *(f"{value:.2f}" for value in figures), *(f"{rate:,.0f}" for rate in rates))
    return table


if __name__ == "__main__":
    run_main(main)
