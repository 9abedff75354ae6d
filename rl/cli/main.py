"""The command line: `interleave <command> ...`."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

from actors import ending
from rl import __version__
from rl.cli.ablate import add_ablate_command
from rl.cli.arguments import (
    Parser,
    add_command,
    add_resume,
    add_trust_code,
    file_path,
    numbers,
    with_auto_resume,
)
from rl.cli.compare import add_compare_command
from rl.cli.data import add_data_commands
from rl.cli.doctor import add_doctor_command
from rl.cli.keys import add_keys_command
from rl.cli.ledger import add_ledger_commands, with_ledger_sql
from rl.cli.licences import add_licences_command
from rl.cli.output import code_of_loss, outlast_readers
from rl.cli.package_clash import clash_of, put_first
from rl.cli.plan import add_plan_command, add_resolved, dry_run, print_resolved
from rl.cli.reward import add_reward_commands
from rl.cli.run_folder import folder_of
from rl.cli.run_to_end import INTERRUPTED, leaving_when_terminated, run_async, run_to_end
from rl.cli.shapes import add_shapes_commands
from rl.cli.story import add_story_commands
from rl.cli.watch import add_watch_command
from rl.preemption import EXIT_CODE, Preempted


def main(arguments: list[str] | None = None) -> int:
    """Run one command; one line on stderr and code 2 for bad input, 1 for a run that stopped, 3 for a spent budget."""
    if arguments is None:  # as the process's own command
        outlast_readers()
    code = _main(arguments)
    return ending.leave(code) if ending.is_begun() else code


def _main(arguments: list[str] | None) -> int:
    from rollout.roles import BudgetSpent, RunStopped

    parser = _parser()
    given = with_ledger_sql(sys.argv[1:] if arguments is None else arguments)
    chosen, left = parser.parse_known_args(with_auto_resume(given))
    go_on = "; go on with the same command and --resume" if hasattr(chosen, "resume") else ""
    # Options and overrides may stand in any order.
    unknown = [text for text in left if not text.startswith("~") and ("=" not in text or text.startswith("-"))]
    if unknown or (left and not hasattr(chosen, "overrides")):
        getattr(chosen, "parser", parser).refuse(unknown or left)
    if left:
        chosen.overrides += left
    ending.last_words = f"interleave: interrupted{go_on}"
    if not hasattr(chosen, "command"):
        parser.print_help()
        return 2
    try:
        put_first()  # and a reward function of the user's own is imported from where they stand
        with leaving_when_terminated(EXIT_CODE) if hasattr(chosen, "resume") else nullcontext():
            code = int(chosen.command(chosen))
            return code or (0 if hasattr(chosen, "resume") else code_of_loss())  # of a run, its folder is what counts
    except Preempted as error:
        print(f"interleave: {error}{go_on}", file=sys.stderr)
        return EXIT_CODE
    except ValueError as error:
        print(f"interleave: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        from rl.writable import FULL

        if error.filename is None and error.errno not in FULL:  # no file: a connection, a deadline
            raise
        file, why = error.filename, error.strerror
        if error.errno in FULL:  # of a copy, it is the second that is written; Arrow's own words are two sentences
            file, why = error.filename2 or file, os.strerror(error.errno or 0)
        print(f"interleave: {file or 'a file cannot be written'}: {why}", file=sys.stderr)
        return 2
    except RunStopped as error:
        print(f"interleave: the run stopped: {error}", file=sys.stderr)
        return 1
    except BudgetSpent as error:
        print(f"interleave: the run stopped, and all of it is saved: {error}{go_on}", file=sys.stderr)
        return 3
    except ImportError as error:
        if not (clash := clash_of(error)):
            raise
        print(f"interleave: {clash}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interleave: interrupted{_what_is_left(chosen, go_on)}", file=sys.stderr)
        return ending.code() or INTERRUPTED


def _what_is_left(chosen: argparse.Namespace, go_on: str) -> str:
    """Return the end of an interrupted command's line: unlike SIGTERM, Ctrl-C saves no step that is not saved yet."""
    from rl.run_dir.resume import saved_in, was_started

    if not hasattr(chosen, "run_dir"):
        return go_on
    return f"; {saved_in(chosen.run_dir)}{go_on}" if was_started(chosen.run_dir) else ""


def _parser() -> Parser:
    parser = Parser(prog="interleave", description=__doc__)
    parser.add_argument("--version", action="version", version=f"interleave {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="")
    train = add_command(commands, "train", _train, "train a critic by GRPO and report what it learned")
    train.add_argument("recipe", type=file_path, help="recipe YAML")
    train.add_argument(
        "overrides",
        nargs="*",
        default=[],
        help="key=value, like rollout.n=4 reward=paper; ~key drops what the recipe sets",
    )
    add_resume(train, "go on from the run's newest checkpoint; --resume auto: or start, where there is nothing yet")
    train.add_argument(
        "--dry-run", action="store_true", help="print the plan for this machine and what is missing; start nothing"
    )
    add_resolved(train, "with --dry-run: print the recipe instead, as the run would write it into its folder")
    add_plan_command(commands)
    add_doctor_command(commands)
    add_keys_command(commands)
    add_licences_command(commands)
    sft = add_command(
        commands,
        "sft",
        _sft,
        "fine-tune a critic or planner on records (SFT, before RL), and export the best",
    )
    sft.add_argument("recipe", type=file_path, help="recipe YAML")
    sft.add_argument("overrides", nargs="*", default=[], help="key=value, like batch_size=32 policy.lr=1e-5")
    add_resume(sft, "go on from the run's newest checkpoint; --resume auto: or start, where there is nothing yet")
    learning = add_command(commands, "learning", _learning, "train with several seeds; fail unless every one learned")
    learning.add_argument("recipe", type=file_path, help="recipe YAML")
    learning.add_argument("overrides", nargs="*", default=[], help="key=value")
    learning.add_argument("--seeds", type=numbers, default=[0, 1, 2], help="default: 0,1,2")
    learning.add_argument("--out", type=file_path, help="folder of the runs; default: runs/learning-<now>")
    add_resume(learning, "go on with the runs in --out, and start those that are not there (so does --resume auto)")
    add_ablate_command(commands)
    _add_run_commands(commands)
    add_compare_command(commands)
    add_watch_command(commands)
    serve = add_command(
        commands, "serve", _serve, "put a recipe's generator, or its whole storyteller, behind HTTP until Ctrl-C"
    )
    serve.add_argument("recipe", type=file_path, help="recipe YAML or bundle; of a training recipe, its generator")
    serve.add_argument(
        "overrides", nargs="*", default=[], help="key=value, like service.port=8012 generator.num_replicas=4"
    )
    add_trust_code(serve)
    add_reward_commands(commands)
    add_story_commands(commands)
    add_data_commands(commands)
    add_shapes_commands(commands)
    return parser


def _add_run_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add what is done with the folder of a run, without any of its actors."""
    rescore = add_command(
        commands, "rescore", _rescore, "compute a run's rewards again from its ledger, without a model"
    )
    rescore.add_argument("run", type=file_path, help="the run's folder")
    rescore.add_argument(
        "overrides", nargs="*", default=[], help="key=value, like reward=paper; none: the run's own recipe"
    )
    add_trust_code(rescore, "run functions that the run's own recipe names; those that an override names are yours")
    inspect = add_command(
        commands, "inspect", _inspect, "write a page to sort and filter a run's samples with their images"
    )
    inspect.add_argument("run", type=file_path, help="the run's folder")
    inspect.add_argument(
        "overrides", nargs="*", default=[], help="key=value, like store=/elsewhere for a run that was moved"
    )
    add_trust_code(inspect, "run the function that computes advantages, where the run's recipe names one of its own")
    inspect.add_argument("--phase", default="", help="train, before, during or after; default: all")
    inspect.add_argument("--out", type=file_path, help="the page; default: inspect.html in the run's folder")
    inspect.add_argument("--limit", type=int, default=2000, help="most samples to show, 0: all; default: 2000")
    add_ledger_commands(commands)


def _train(chosen: argparse.Namespace) -> int:
    from rl.recipe.reader import load_recipe
    from rl.tracking.trackers import check_trackers

    recipe = load_recipe(chosen.recipe, chosen.overrides)
    check_trackers(recipe.tracking)
    if chosen.resolved:
        if not chosen.dry_run:
            raise ValueError("--resolved prints and starts nothing: say it with --dry-run")
        return print_resolved(recipe)
    if chosen.dry_run:
        return dry_run(recipe, chosen.resume, chosen.accept_changed)
    from rl.prepare import prepare  # late, both: they import torch and Ray, and a wrong recipe should fail at once
    from rl.run import run
    from rl.run_dir.ended import noting_the_end
    from rl.run_dir.resume import check_unfinished

    with folder_of(chosen, recipe) as resumed:
        if resumed:
            check_unfinished(recipe)
        plan = prepare(recipe, is_resumed=resumed, accepted=chosen.accept_changed)
        with noting_the_end(chosen.run_dir):
            run_to_end(run(plan))
    return 0


def _sft(chosen: argparse.Namespace) -> int:
    from rl.recipe.reader import load_as
    from rl.recipe.sft_config import SftRecipe
    from rl.tracking.trackers import check_trackers

    recipe = load_as(SftRecipe, chosen.recipe, chosen.overrides)
    check_trackers(recipe.tracking)
    from rl.run_dir.ended import noting_the_end
    from rl.sft.run import prepare_sft, run_sft  # late: it imports torch, Ray and verl

    with folder_of(chosen, recipe) as resumed:
        plan = prepare_sft(recipe, is_resumed=resumed, accepted=chosen.accept_changed)
        with noting_the_end(chosen.run_dir):
            run_to_end(run_sft(plan))
    return 0


def _learning(chosen: argparse.Namespace) -> int:
    from rl.cli.multi_seed import train_seeds
    from rl.run_dir.lock import locked

    if chosen.resume and not chosen.out:
        raise ValueError("--resume needs the folder of the runs to go on with: --out FOLDER")
    folder = chosen.out or Path("runs") / f"learning-{datetime.now():%Y%m%d-%H%M%S}"
    goes_on, accepted = bool(chosen.resume), chosen.accept_changed
    try:
        with locked(folder, "--out"):
            return train_seeds(
                chosen.recipe, chosen.overrides, chosen.seeds, folder, is_resumed=goes_on, accepted=accepted
            )
    except KeyboardInterrupt:
        print(f"interleave: interrupted; go on with the same command, --out {folder} and --resume", file=sys.stderr)
        return 130


def _rescore(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from rl.rescore.report import print_report
    from rl.rescore.run import rescore

    result = run_async(rescore(chosen.run, chosen.overrides, trusts_code=chosen.trust_code))
    print_report(result, Console(highlight=False, soft_wrap=True))
    return 0 if result.is_good else 1


def _inspect(chosen: argparse.Namespace) -> int:
    from rl.inspection.page import write_page
    from rl.writable import check_file_writable

    if chosen.out:
        check_file_writable(chosen.out, "--out")
    page = write_page(
        chosen.run,
        phase=chosen.phase,
        out=chosen.out,
        limit=chosen.limit,
        overrides=chosen.overrides,
        trusts_code=chosen.trust_code,
    )
    missing = f", {page.num_missing:,} of {page.num_images:,} images missing" if page.num_missing else ""
    print(f"{page.num_shown:,} of {page.num_samples:,} samples{missing}\npage  {page.path}")
    return 0


def _serve(chosen: argparse.Namespace) -> int:
    from rl.serve import ServeRecipe, load_served, serve, serve_stories

    recipe = load_served(chosen.recipe, chosen.overrides, trusts_code=chosen.trust_code)
    run_async(serve(recipe) if isinstance(recipe, ServeRecipe) else serve_stories(recipe))
    return 0


if __name__ == "__main__":
    sys.exit(main())
