"""Kill the real stack: `python -m benchmarks.real_kills [--kills 24] [--each] [--only TEXT ...] [--out FOLDER]`.

The shapes world is trained for real, with vLLM, verl and diffusers, by the one command that would be started again and
again (`--resume auto`). By a list that the seed draws SIGKILL goes to the sampler's engine, a rank of the policy, a
replica of the generator, and to the driver while it publishes, saves, updates, or vLLM starts. Each time the run has to
go on by itself, or to end within 30 s by a line. In the end each sample has to be there once, each step learned once,
and no answer paid for again that was on disk.

`--each` hurts every kind of process once in each way instead, SIGSTOP among them; `--only raylet "rank killed"` only
those whose words contain one of these. Prints a table of who, how soon, by which line, and what was kept. A second
start goes on with the same --out, and SIGTERM ends what is under way.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.ending import run_main
from benchmarks.real_kills.cluster_head import HEADS_OF_CLUSTERS, hurt_head
from benchmarks.real_kills.injuries import EACH, Injury, drawn
from benchmarks.real_kills.life import Hurt, Life, overrides
from benchmarks.real_kills.verdict import count_breaches

PER_RUN = 6
"""Injuries of one run: then it comes to its end, and another one begins."""
STEPS_EACH, STEPS_WITHOUT_HEAD = 6, 40
"""Of a run, for each of its injuries: it trains on beside a head that hangs, and must not end before that is missed."""


def planned(kills: Sequence[Injury], only: Sequence[str], *, each: bool) -> dict[str, list[Injury]]:
    """Return which injuries befall which run, by its name.

    They are these kills, or each kind once; only those whose words contain a text of `only`.
    """

    def among(injuries: Sequence[Injury]) -> list[Injury]:
        return [injury for injury in injuries if any(text in str(injury) for text in only)]

    chosen = among(EACH if each else kills)
    runs = {f"run-{at // PER_RUN}": chosen[at : at + PER_RUN] for at in range(0, len(chosen), PER_RUN)}
    heads = among(HEADS_OF_CLUSTERS) if each else []
    return runs | ({"cluster": heads} if heads else {})


def steps_for(injuries: Sequence[Injury]) -> int:
    """Return how many steps a run has that is hurt in these ways."""
    hangs = sum(injury.is_of_cluster and injury.how == "SIGSTOP" for injury in injuries)
    return STEPS_EACH * (len(injuries) - hangs) + STEPS_WITHOUT_HEAD * hangs + 2


def hurt_run(folder: Path, injuries: Sequence[Injury], temporary: str) -> tuple[list[Hurt], dict[str, int]]:
    """Hurt one run in all these ways and let it end; what is done already is read from the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    num_steps, notes = steps_for(injuries), folder / "injuries.json"
    done = _load(notes)
    if [one.injury for one in done] != list(injuries[: len(done)]):
        raise ValueError(
            f"{notes} is of other injuries: give its own --kills, --each, --only and --seed, or another --out"
        )
    life: Life | None = None
    start = partial(Life, folder, overrides(num_steps), os.environ | {"TMPDIR": temporary})
    breaches = folder / "breaches.json"
    try:
        for injury in injuries[len(done) :]:
            if injury.is_of_cluster:
                hurt = hurt_head(injury, folder, overrides(num_steps), temporary)
            else:
                if life is None or injury.moment == "starting":
                    if life:
                        life.end()
                    life = start()
                hurt = life.hurt(injury)
                life = None if life.process.poll() is not None else life
            done.append(hurt)
            _save(notes, done)
            _show(hurt)
        if not breaches.exists():
            life = life or start()
            code = life.process.wait()
            counted = count_breaches(folder, num_steps, [one.committed for one in done]) if code == 0 else {}
            breaches.write_text(json.dumps({"exit code at its end": code} | counted))
    finally:
        if life:
            life.end()
    counted = json.loads(breaches.read_text())
    print("  ".join(f"{name} {number}" for name, number in counted.items()), flush=True)
    return done, counted


def _load(notes: Path) -> list[Hurt]:
    saved = json.loads(notes.read_text()) if notes.exists() else []
    return [Hurt(**one | {"injury": Injury(**one["injury"])}) for one in saved]


def _save(notes: Path, done: Sequence[Hurt]) -> None:
    notes.with_suffix(".new").write_text(json.dumps([asdict(one) for one in done], indent=1))
    notes.with_suffix(".new").replace(notes)


def _show(one: Hurt) -> None:
    print(
        f"{one.injury!s:50} {one.outcome:7} {one.seconds:5.1f} s  step {one.step} kept {one.kept}  "
        f"left {one.left or 0}  {'ok' if one.is_good else 'MISSED'}  {one.line}",
        flush=True,
    )


def table(done: Sequence[Hurt]) -> str:
    """Return a table in Markdown."""
    rows = [
        f"| {one.injury} | {one.outcome} | {one.seconds:.1f} | {one.line.removeprefix('interleave: ') or '-'} | "
        f"{one.step}, {one.kept} |"
        for one in done
    ]
    head = ["| who, how, when | | seconds | line | saved before, after |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real_kills",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=24, help="in all; default: 24")
    parser.add_argument("--each", action="store_true", help="each death and hang once instead")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="TEXT", help="of these, those whose words contain it: 'rank killed'"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder to go on with; default: a temporary one")
    chosen = parser.parse_args(arguments)
    if chosen.kills < 1:
        parser.error("--kills has to be 1 or more")
    runs_of = planned(drawn(chosen.kills, chosen.seed), chosen.only, each=chosen.each)
    if not runs_of:
        parser.error(f"no injury is called {' or '.join(chosen.only)}: they are called like '{EACH[0]}'")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rk", dir="/tmp") as temporary:  # short: Ray's sockets are below it
        folder = (chosen.out or Path(temporary, "runs")).resolve()
        runs = [hurt_run(folder / name, injuries, temporary) for name, injuries in runs_of.items()]
    done = [one for hurt, _ in runs for one in hurt]
    missed = [one for one in done if not one.is_good]
    breaches = sum(number for _, counted in runs for number in counted.values())
    print(table(done))
    print(
        f"{len(done)} in {(time.monotonic() - began) / 60:.0f} minutes: {len(missed)} bars missed, {breaches} breaches"
    )
    return 1 if missed or breaches else 0


if __name__ == "__main__":
    run_main(main)
