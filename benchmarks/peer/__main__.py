"""Ours against TRL's GRPOTrainer, on CPUs: `python -m benchmarks.peer [--part a|b] [--steps N] [--repeats 3]`.

The same critic, tasks in the same order, groups, lengths, optimizer, loss, dtype and cores; each run is a process of
its own that starts with nothing kept from others. The sides take turns, and only ratios within a round of turns count:
a machine that others use is as slow for one as for the other.

- TRL 1.16 has an environment of its own with this one's torch and transformers (`--environment`, made once; needs an
  index of packages). Its process has as many threads as there are cores. It generates by transformers:
  vLLM colocated starts on CPU, but its answers are not the trainer's (mean importance ratios below 0.003, rewards of
  0.4 instead of 0.8 from the first step on), and it draws no faster.
- Its reward function asks the same generator, in batches as large as ours, and the same judge, in its process; equal
  edits are made once, as ours are. Ours starts with an empty store.
- Its tasks have prompts of one length, for it breaks on others; ours gets the same ones. All samples are learned from
  on both sides: ours leaves no group out.
- A step is what lies between the ends of two updates. Of ours, publishing, its verification, ledger and store are
  inside; TRL publishes nothing. Not counted are the first step and, with a lead of k, k more before and after.

Part (a) has everything on these cores. In part (b) the responses and the update are real, and edits and judge calls
only wait: 0.9 s on each of 8 generators, then two calls at once of a lognormal time (median 4 s, sigma 0.8), 64 at a
time; TRL's reward function is `async`. Ends with exit code 1 where a bar is missed, 2 where TRL cannot be installed.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.ending import run_main
from benchmarks.peer.environment import NotInstalled, trl_python
from benchmarks.peer.setting import PARTS, write_tasks
from benchmarks.peer.sides import Match
from benchmarks.peer.table import NoAnswer, Turn, show

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "interleave-thinker" / "trl-1.16.0"

STEPS = {"a": 8, "b": 4}
"""A step of part (a) takes 7 s, in which two cores make too much noise for four of them."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=sorted(PARTS), action="append", help="default: both")
    parser.add_argument("--steps", type=_count, help="counted in each run; default: 8 in part a, 4 in part b")
    parser.add_argument("--repeats", type=_count, default=3, help="rounds of turns; default: 3, the median counts")
    parser.add_argument(
        "--cores", type=_count, default=2, help="that each side may use; default: 2, as the recipe has it"
    )
    parser.add_argument("--environment", type=Path, default=CACHE, help=f"TRL's; default: {CACHE}")
    parser.add_argument("--out", type=Path, help="JSON of all runs")
    chosen = parser.parse_args(arguments)
    try:
        python = trl_python(chosen.environment)
    except NotInstalled as error:
        print(error, file=sys.stderr)
        return 2
    found: dict[str, list[Turn]] = {}
    missed = 0
    try:
        for part in chosen.part or sorted(PARTS):
            found[part] = list(turns_of(Match(part, chosen.steps or STEPS[part], chosen.cores, python), chosen.repeats))
            missed |= show(part, found[part])
    except NoAnswer as error:
        print(error, file=sys.stderr)
        missed = 1
    if chosen.out:
        content = {part: [asdict(turn) for turn in turns] for part, turns in found.items()}
        chosen.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return missed


def turns_of(match: Match, repeats: int) -> Iterator[Turn]:
    """Yield the runs of a part: in each round TRL's and ours at each lead, another one first in each."""
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        write_tasks(Path(folder))
        for number in range(repeats):
            sides = [None, *PARTS[match.part]]
            for lead in sides[number % len(sides) :] + sides[: number % len(sides)]:
                place = Path(folder) / f"{number}-{'trl' if lead is None else lead}"
                turn = match.turn_of_trl(place) if lead is None else match.turn_of_ours(place, lead)
                print(f"({match.part}) {turn.side}: {turn.samples_per_s:.2f} samples/s", flush=True)
                yield turn


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number}; expected 1 or more")
    return number


if __name__ == "__main__":
    run_main(main)
