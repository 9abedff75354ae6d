"""The command line: `interleave <command> ...`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rl.data_commands import add_data_commands
from rl.story.commands import add_story_commands


def main(arguments: list[str] | None = None) -> int:
    """Run one command; bad input ends with one line on stderr and exit code 2, a spent budget with 3."""
    from rollout.roles import BudgetSpent

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
    except OSError as error:
        if error.filename is None:  # no file: a connection, a deadline
            raise
        print(f"interleave: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except BudgetSpent as error:
        print(f"interleave: the run stopped, and all of it is saved: {error}", file=sys.stderr)
        return 3
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
    sft = _add(commands, "sft", _sft, "cold-start a critic or a planner on records, and export its best weights")
    sft.add_argument("recipe", type=Path, help="recipe YAML")
    sft.add_argument("overrides", nargs="*", help="key=value, like batch_size=32 policy.lr=1e-5")
    sft.add_argument("--resume", action="store_true", help="go on from the run's newest checkpoint")
    learning = _add(commands, "learning", _learning, "train with several seeds; fail unless every one learned")
    learning.add_argument("recipe", type=Path, help="recipe YAML")
    learning.add_argument("overrides", nargs="*", help="key=value")
    learning.add_argument("--seeds", type=_numbers, default=[0, 1, 2], help="default: 0,1,2")
    learning.add_argument("--out", type=Path, help="folder of the runs; default: runs/learning-<now>")
    rescore = _add(commands, "rescore", _rescore, "compute a run's rewards again from its ledger, without a model")
    rescore.add_argument("run", type=Path, help="the run's folder")
    rescore.add_argument("overrides", nargs="*", help="key=value, like reward=paper; none: the run's own recipe")
    inspect = _add(commands, "inspect", _inspect, "write a page to sort and filter a run's samples with their images")
    inspect.add_argument("run", type=Path, help="the run's folder")
    inspect.add_argument("overrides", nargs="*", help="key=value, like store=/elsewhere for a run that was moved")
    inspect.add_argument("--phase", default="", help="train, before, during or after; default: all")
    inspect.add_argument("--out", type=Path, help="the page; default: inspect.html in the run's folder")
    inspect.add_argument("--limit", type=int, default=2000, help="most samples to show, 0: all; default: 2000")
    ledger = _add(commands, "ledger", _ledger, "write a run's ledger as Parquet, for pandas and datasets")
    ledger.add_argument("run", type=Path, help="the run's folder")
    serve = _add(
        commands, "serve", _serve, "put a recipe's generator, or its whole storyteller, behind HTTP until Ctrl-C"
    )
    serve.add_argument("recipe", type=Path, help="recipe YAML or bundle; of a training recipe, its generator")
    serve.add_argument("overrides", nargs="*", help="key=value, like service.port=8012 generator.num_replicas=4")
    rewards = commands.add_parser("reward", help="rewards of your own").add_subparsers(metavar="", required=True)
    trial = _add(rewards, "test", _reward_test, "try rewards on gold and broken samples, or on a run's ledger")
    trial.add_argument("target", help="FILE.py, FILE.py:function, module or module.function; all rewards of a file")
    trial.add_argument("--ledger", type=Path, metavar="RUN", help="the folder of a run whose samples to use")
    trial.add_argument("--limit", type=int, default=500, help="most samples of a ledger; default: 500")
    trial.add_argument("--timeout", type=float, default=10.0, help="seconds a call may take; default: 10")
    trial.add_argument("--extra", default="", help="""JSON of gold samples' further evidence: '{"aesthetic": 0.7}'""")
    add_story_commands(commands)
    add_data_commands(commands)
    shapes = commands.add_parser("shapes", help="the embedded shapes world").add_subparsers(metavar="", required=True)
    build = _add(shapes, "build", _shapes_build, "rebuild generator, data, tasks, critic and planner from a seed")
    build.add_argument("--out", type=Path, default=Path("runs/shapes"), help="default: runs/shapes")
    build.add_argument("--seed", type=int, default=0)
    build.add_argument("--scale", type=float, default=1.0, help="share of all counts; 0.01 rehearses the chain")
    build.add_argument("--rl", action="store_true", help="and train the critic by GRPO on what was built")
    requests = _add(shapes, "requests", _shapes_requests, "write what `data build recipes/build_shapes.yaml` is asked")
    requests.add_argument("--out", type=Path, default=Path("runs/shapes/requests"), help="default: %(default)s")
    requests.add_argument("--seed", type=int, default=0)
    requests.add_argument("--count", type=int, default=2800, help="default: 2800")
    records = _add(shapes, "records", _shapes_records, "write what the critic's cold start begins with")
    records.add_argument("--out", type=Path, default=Path("runs/shapes/critic_sft"), help="default: %(default)s")
    records.add_argument("--seed", type=int, default=0)
    records.add_argument("--attempts", type=int, default=8500, help="of the generator; default: 8500")
    records.add_argument("--drawn", type=int, default=5700, help="pictures drawn instead; default: 5700")
    headroom = _add(shapes, "headroom", _shapes_headroom, "print how much there is to learn before RL")
    headroom.add_argument("--tasks", type=int, default=0, help="held-out tasks to use; default: all")
    return parser


def _add(commands: argparse._SubParsersAction, name: str, run: Callable, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    return parser


def _train(chosen: argparse.Namespace) -> int:
    from data.errors import RecordError
    from rl.recipe_file import load_recipe
    from rl.stream import RolloutsFailed
    from rl.tracking.alerts import Collapsed
    from rollout.roles import PublishError

    recipe = load_recipe(chosen.recipe, chosen.overrides)
    from rl.run import prepare, run  # late: it imports torch, Ray and verl, and a wrong recipe should fail at once

    plan = prepare(recipe, is_resumed=chosen.resume)
    _make_folder(recipe.run_dir)
    try:
        asyncio.run(run(plan))
    except (RolloutsFailed, PublishError, Collapsed, RecordError) as error:
        print(f"interleave: the run stopped: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        raise RuntimeError("the run broke") from error  # not the user's input any more: with its traceback
    return 0


def _sft(chosen: argparse.Namespace) -> int:
    from data.errors import RecordError
    from rl.recipe_file import load_as
    from rl.sft.config import SftRecipe
    from rl.sft.lessons import LeftOut
    from rl.tracking.alerts import Collapsed
    from rollout.roles import PublishError

    recipe = load_as(SftRecipe, chosen.recipe, chosen.overrides)
    from rl.sft.run import prepare_sft, run_sft  # late: it imports torch, Ray and verl

    plan = prepare_sft(recipe, is_resumed=chosen.resume)
    _make_folder(recipe.run_dir)
    try:
        asyncio.run(run_sft(plan))
    except (PublishError, Collapsed, LeftOut, RecordError) as error:
        print(f"interleave: the run stopped: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        raise RuntimeError("the run broke") from error  # not the user's input any more: with its traceback
    return 0


def _make_folder(path: str) -> None:
    """Make a run's folder, so that one that cannot be made is told before anything starts."""
    Path(path).mkdir(parents=True, exist_ok=True)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _learning(chosen: argparse.Namespace) -> int:
    from rl.learning import learn

    folder = chosen.out or Path("runs") / f"learning-{datetime.now():%Y%m%d-%H%M%S}"
    return learn(chosen.recipe, chosen.overrides, chosen.seeds, folder)


def _rescore(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from rl.rescore.report import show
    from rl.rescore.run import rescore

    result = asyncio.run(rescore(chosen.run, chosen.overrides))
    show(result, Console(highlight=False, soft_wrap=True))
    return 0 if result.is_good else 1


def _inspect(chosen: argparse.Namespace) -> int:
    from rl.inspection.page import write_page

    page = write_page(chosen.run, phase=chosen.phase, out=chosen.out, limit=chosen.limit, overrides=chosen.overrides)
    missing = f", {page.num_missing:,} of {page.num_images:,} images missing" if page.num_missing else ""
    print(f"{page.num_shown:,} of {page.num_samples:,} samples{missing}\npage  {page.path}")
    return 0


def _ledger(chosen: argparse.Namespace) -> int:
    from actors.store.ledger_table import compact

    folder = chosen.run / "ledger"
    for table, num_rows in compact(folder).items():
        print(f"{num_rows:>9,} {table}  {folder / table}.parquet")
    return 0


def _serve(chosen: argparse.Namespace) -> int:
    from rl.serve import ServeRecipe, load_served, serve, serve_stories

    recipe = load_served(chosen.recipe, chosen.overrides)
    asyncio.run(serve(recipe) if isinstance(recipe, ServeRecipe) else serve_stories(recipe))
    return 0


def _reward_test(chosen: argparse.Namespace) -> int:
    from rl.rescore.trial_report import try_rewards

    return try_rewards(
        chosen.target, ledger=chosen.ledger, limit=chosen.limit, timeout_s=chosen.timeout, extra=chosen.extra
    )


def _shapes_build(chosen: argparse.Namespace) -> int:
    from recipes.shapes.build import build

    build(chosen.out, chosen.seed, chosen.scale, has_rl=chosen.rl)
    return 0


def _shapes_requests(chosen: argparse.Namespace) -> int:
    from recipes.shapes.requests import write_requests

    print(write_requests(chosen.out, chosen.seed, chosen.count))
    return 0


def _shapes_records(chosen: argparse.Namespace) -> int:
    from recipes.shapes.sft_records import make_records

    counts = make_records(chosen.out, chosen.seed, num_attempts=chosen.attempts, num_drawn=chosen.drawn)
    for split, count in counts.items():
        print(f"{split:8} {count:>8,} records  {chosen.out / split}.jsonl")
    return 0


def _shapes_headroom(chosen: argparse.Namespace) -> int:
    from recipes.shapes.headroom import headroom

    headroom(num_tasks=chosen.tasks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
