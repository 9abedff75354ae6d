"""The command line: `interleave <command> ...`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run one command; bad input ends with one line on stderr and exit code 2."""
    parser = _parser()
    chosen, left = parser.parse_known_args(arguments)
    # Options and overrides may stand in any order.
    unknown = [argument for argument in left if "=" not in argument or argument.startswith("-")]
    if unknown or (left and not hasattr(chosen, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(unknown or left)}")
    if left:
        chosen.overrides += left
    sys.path.insert(0, os.getcwd())  # a reward function of the user's own is imported from where they stand
    if not hasattr(chosen, "command"):
        parser.print_help()
        return 2
    try:
        return chosen.command(chosen)
    except ValueError as error:
        print(f"interleave: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interleave: interrupted; go on with the same command and --resume", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="interleave", description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="")
    train = _add(commands, "train", _train, "train a critic by GRPO and report what it learned")
    train.add_argument("recipe", type=Path, help="recipe YAML")
    train.add_argument("overrides", nargs="*", help="key=value, like rollout.n=4 reward=paper")
    train.add_argument("--resume", action="store_true", help="go on from the run's newest checkpoint")
    learning = _add(commands, "learning", _learning, "train with several seeds; fail unless every one learned")
    learning.add_argument("recipe", type=Path, help="recipe YAML")
    learning.add_argument("overrides", nargs="*", help="key=value")
    learning.add_argument("--seeds", type=_numbers, default=[0, 1, 2], help="default: 0,1,2")
    learning.add_argument("--out", type=Path, help="folder of the runs; default: runs/learning-<now>")
    ledger = _add(commands, "ledger", _ledger, "write a run's ledger as Parquet, for pandas and datasets")
    ledger.add_argument("run", type=Path, help="the run's folder")
    shapes = commands.add_parser("shapes", help="the embedded shapes world").add_subparsers(metavar="", required=True)
    build = _add(shapes, "build", _shapes_build, "rebuild generator, critic and tasks from a seed")
    build.add_argument("--out", type=Path, default=Path("runs/shapes"), help="default: runs/shapes")
    build.add_argument("--seed", type=int, default=0)
    headroom = _add(shapes, "headroom", _shapes_headroom, "print how much there is to learn before RL")
    headroom.add_argument("--tasks", type=int, default=0, help="held-out tasks to use; default: all")
    return parser


def _add(commands: argparse._SubParsersAction, name: str, run: Callable, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    return parser


def _train(chosen: argparse.Namespace) -> int:
    from rl.alerts import Collapsed
    from rl.recipe_file import load_recipe
    from rl.stream import RolloutsFailed
    from rollout.roles import PublishError

    recipe = load_recipe(chosen.recipe, chosen.overrides)
    from rl.run import prepare, run  # late: it imports torch, Ray and verl, and a wrong recipe should fail at once

    plan = prepare(recipe, is_resumed=chosen.resume)
    try:
        asyncio.run(run(plan))
    except (RolloutsFailed, PublishError, Collapsed) as error:
        print(f"interleave: the run stopped: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        raise RuntimeError("the run broke") from error  # not the user's input any more: with its traceback
    return 0


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _learning(chosen: argparse.Namespace) -> int:
    from rl.learning import learn

    folder = chosen.out or Path("runs") / f"learning-{datetime.now():%Y%m%d-%H%M%S}"
    return learn(chosen.recipe, chosen.overrides, chosen.seeds, folder)


def _ledger(chosen: argparse.Namespace) -> int:
    from actors.ledger_table import compact

    folder = chosen.run / "ledger"
    for table, num_rows in compact(folder).items():
        print(f"{num_rows:>9,} {table}  {folder / table}.parquet")
    return 0


def _shapes_build(chosen: argparse.Namespace) -> int:
    from recipes.shapes.build import build

    build(chosen.out, chosen.seed)
    return 0


def _shapes_headroom(chosen: argparse.Namespace) -> int:
    from recipes.shapes.headroom import headroom

    headroom(num_tasks=chosen.tasks)
    return 0
