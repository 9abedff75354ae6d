"""How long a step takes beside what its slowest stage needs: `python -m benchmarks.pipeline [--factor 5]`.

The driver, the rollout workers, the generators' pool, the owners of paid calls, the store, the ledger and Ray are those
of a run; policy, samplers, generators and the judge's endpoint sleep, each for as long as was drawn for its step, task
and sample, divided by one factor: what all the rest costs counts so many times as much as beside true times.
16 tasks x 8 responses a step, all of failed records. Four schedules, one after the other, about 35 minutes:

    serial    as released: all responses, then each one's image and scores, then the update
    streamed  each response goes its way by itself
    k=1, k=2  and the next steps are rolled out meanwhile, by a policy up to k updates old

The reference is `rl.plan.simulation` with the same draws, by the rules of the recipe, without any overhead. Exit code 1
where measured / reference is not between 0.99 and 1.05, a schedule is too slow beside the serial one, a sample is lost
or too old, or a reward differs between schedules.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from rich.console import Console

from benchmarks.ending import run_main
from benchmarks.pipeline.measure import measure
from benchmarks.pipeline.scenario import SCHEDULES, Scenario
from benchmarks.pipeline.verdict import Compared, Verdict


def run(scenario: Scenario, names: list[str], folder: Path, console: Console) -> Verdict:
    """Measure schedules by their names."""
    compared = {}
    for schedule in SCHEDULES:
        if schedule.name in names:
            began, reference = time.monotonic(), scenario.reference(schedule)
            own = folder / schedule.name
            own.mkdir(parents=True)
            measured = asyncio.run(measure(scenario, schedule, own, console))
            compared[schedule.name] = one = Compared(schedule, measured, reference)
            console.print(
                f"{schedule.name}: {one.seconds:.1f} s of {reference.seconds:.1f} ({one.ratio:.3f}), "
                f"{time.monotonic() - began:.0f} s in all"
            )
    return Verdict(scenario, compared)


def main(arguments: list[str] | None = None) -> int:
    names = [schedule.name for schedule in SCHEDULES]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--factor", type=float, default=5.0, help="all times are divided by it; default: 5")
    parser.add_argument("--steps", type=int, default=30, help="counted after k+1 others; default: 30")
    parser.add_argument("--schedules", default=",".join(names), help=f"default: {','.join(names)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("pipeline.json"), help="default: pipeline.json")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.schedules.split(",")) - set(names):
        parser.error(f"--schedules: {', '.join(sorted(unknown))} is none of {', '.join(names)}")
    if chosen.steps < 1 or chosen.factor <= 0:
        parser.error("--steps has to be 1 or more, --factor above 0")
    console = Console(highlight=False, soft_wrap=True, width=120)
    scenario = Scenario(chosen.factor, chosen.steps, chosen.seed)
    with tempfile.TemporaryDirectory(prefix="interleave-pipeline-") as folder:
        verdict = run(scenario, chosen.schedules.split(","), Path(folder), console)
    verdict.show(console)
    verdict.save(chosen.out)
    missed = verdict.missed()
    for text in missed:
        console.print(f"[red]MISSED[/] {text}", markup=True)
    return 1 if missed else 0


if __name__ == "__main__":
    run_main(main)
