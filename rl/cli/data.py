"""The commands `interleave data check|show|split|build` (`rl/cli/data_exchange.py`: import and export)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from actors.image_limit import MODEL_PIXELS
from rl.cli.arguments import Parser, add_command, add_group, add_resume, file_path
from rl.cli.data_exchange import add_exchange_commands
from rl.cli.run_to_end import run_async
from rl.preemption import EXIT_CODE
from rollout.text.limits import Tilde

if TYPE_CHECKING:
    from rich.console import Console

    from data.build.card import Card
    from data.records.image_paths import ImageRules
    from data.records.sft import Kind

_FILES = "JSONL, JSON (also .gz) or Parquet; a folder of these or of Hugging Face `datasets`; a quoted pattern"


def add_data_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the commands to the command line's parser; what they need is imported when they run."""
    data = add_group(commands, "data", "files of records")
    check = add_command(data, "check", _check, "count and check records; exit code 1 when one is bad")
    _add_file(check)
    check.add_argument("--deep", action="store_true", help="decode every image, look for near-duplicates, count tokens")
    check.add_argument("--limit", type=int, default=0, help="records to read, 0: all; default: 0")
    check.add_argument("--against", type=file_path, help="another file, which should have no prompt in common")
    check.add_argument("--model", default="", help="with --deep: count tokens as this model's tokenizer does")
    check.add_argument(
        "--prompt", type=file_path, help="with --model: the critic's prompt file, default: recipes/prompts/critic.txt"
    )
    check.add_argument(
        "--max-pixels",
        type=int,
        default=0,
        help="with --model: larger images are scaled down to it, as by max_pixels of a recipe; default: 1,048,576",
    )
    check.add_argument(
        "--largest-image", type=int, default=0, help="with --deep: pixels, above which one is bad; default: 33,554,432"
    )
    show = add_command(data, "show", _show, "write a page to look at records with their images")
    _add_file(show)
    show.add_argument("--out", type=file_path, help="the page; default: beside the file")
    show.add_argument("--limit", type=int, default=50, help="records to show, 0: all; default: 50")
    show.add_argument("--seed", type=int, default=0, help="draws them")
    split = add_command(data, "split", _split, "hold records out by source prompt, so that no prompt is on both sides")
    split.add_argument("file", type=file_path, help=_FILES)
    split.add_argument("--heldout", type=float, required=True, help="share of the prompts, like 0.1")
    split.add_argument(
        "--by", default="", help="field of the prompt; default: origin_prompt, source_prompt or the user's words"
    )
    split.add_argument(
        "--pattern", default="", help="regular expression whose first group is the prompt within that field"
    )
    split.add_argument("--seed", type=int, default=0)
    split.add_argument("--out", type=file_path, help="folder; default: the file's")
    split.add_argument(
        "--on-bad", choices=["raise", "skip"], default="raise", help="records without a prompt; default: raise"
    )
    add_exchange_commands(data)
    _add_making_commands(data)


def _add_making_commands(data: argparse._SubParsersAction[Parser]) -> None:
    """Add those that make records by a recipe."""
    build = add_command(
        data, "build", _build, "build planner SFT, critic SFT and critic RL sets; goes on where it was stopped"
    )
    build.add_argument("recipe", type=file_path, help="recipe YAML")
    build.add_argument(
        "overrides", nargs="*", default=[], help="key=value, like requests.limit=100 critic_rl.num_train=500"
    )
    build.add_argument(
        "--sets-only", action="store_true", help="make the sets from the trajectories that are there; start nothing"
    )
    add_resume(build, "need not be said: a build always goes on")
    rewrite = add_command(
        data, "rewrite", _rewrite, "a critic's own answers in the contract's form, as records for interleave sft"
    )
    rewrite.add_argument("recipe", type=file_path, help="recipe YAML of RL: its policy answers its tasks")
    rewrite.add_argument("overrides", nargs="*", default=[], help="key=value, like policy.model=theirs/critic")
    rewrite.add_argument("--num", type=int, default=4000, help="training tasks to answer, 0: all; default: 4000")
    rewrite.add_argument(
        "--answers",
        type=int,
        default=1,
        help="ask so often about each task, and keep one answer whose verdict is right; default: 1, kept as it is",
    )
    rewrite.add_argument("--out", type=file_path, required=True, help="folder of train.jsonl and heldout.jsonl")
    verl = add_command(data, "verl", _verl, "a recipe's tasks and rollout for verl's own trainer (docs/verl.md)")
    verl.add_argument("recipe", type=file_path, help="recipe YAML of RL")
    verl.add_argument("overrides", nargs="*", default=[], help="key=value, like run_dir=runs/verl rollout.n=4")
    verl.add_argument("--out", type=file_path, required=True, help="folder of the Parquet files and agent_loop.yaml")


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=file_path, help=_FILES)
    parser.add_argument("--kind", choices=["auto", "rl", "critic_sft", "planner_sft"], default="auto")
    parser.add_argument("--image-root", type=file_path, help="where relative image paths start; none leads out of it")
    parser.add_argument(
        "--prefix", action="append", default=[], metavar="OLD=NEW", help="read paths from OLD as if from NEW"
    )
    parser.add_argument(
        "--white-canvas", default="", help="a path with this end stands for a white canvas, like white.png"
    )


def _rules(chosen: argparse.Namespace) -> ImageRules:
    from data.records.image_paths import ImageRules, parse_prefixes

    if chosen.image_root is not None and not chosen.image_root.is_dir():
        raise ValueError(f"--image-root {chosen.image_root}: there is no such folder")
    return ImageRules(
        root=chosen.image_root,
        prefixes=parse_prefixes([Tilde("=").expand(prefix) for prefix in chosen.prefix]),
        white_canvas=chosen.white_canvas,
    )


def _kind(chosen: argparse.Namespace) -> Kind | None:
    from data.records.sft import Kind

    return None if chosen.kind == "auto" else Kind(chosen.kind)


def _check(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from data.check.check import CheckRules, check
    from data.check.images import MAX_PIXELS, DeepRules
    from data.check.progress import progress_bar
    from data.check.report import print_report

    if not chosen.deep and (chosen.model or chosen.largest_image or chosen.prompt):
        raise ValueError("--model, --prompt and --largest-image belong to --deep; add it")
    if chosen.max_pixels and not chosen.model:
        raise ValueError("--max-pixels tells how a model is shown images: give --model, or --largest-image for a limit")
    if min(chosen.limit, chosen.largest_image, chosen.max_pixels) < 0:
        raise ValueError("--limit, --largest-image and --max-pixels are 0 or more")
    model = Tilde().expand(chosen.model)
    deep = DeepRules(model, chosen.prompt, chosen.largest_image or MAX_PIXELS, chosen.max_pixels or MODEL_PIXELS)
    rules = CheckRules(_kind(chosen), _rules(chosen), chosen.limit, chosen.against, deep if chosen.deep else None)
    with progress_bar(Console(stderr=True)) as progress:
        summary = check(chosen.file, rules, progress)
    print_report(summary, Console(highlight=False, soft_wrap=True))
    return 0 if summary.is_good else 1


def _show(chosen: argparse.Namespace) -> int:
    from data.check.page import write_page
    from rl.writable import check_file_writable

    if chosen.out:
        check_file_writable(chosen.out, "--out")
    page = write_page(
        chosen.file, out=chosen.out, limit=chosen.limit, seed=chosen.seed, kind=_kind(chosen), rules=_rules(chosen)
    )
    print(f"page  {page}")
    return 0


def _split(chosen: argparse.Namespace) -> int:
    from data.records.on_bad import BadRecords, OnBad
    from data.split import SplitRules, split
    from rl.writable import check_writable

    if chosen.out:
        check_writable(chosen.out, "--out")
    rules = SplitRules(chosen.heldout, chosen.seed, chosen.by, chosen.pattern)
    done = split(chosen.file, rules, out=chosen.out, bad=BadRecords(OnBad(chosen.on_bad)))
    for side, path in done.paths.items():
        print(f"{side:8} {done.num_records[side]:>10,} records  {path}")
    if done.bad.num:
        print(done.bad.summary())
    return 0


def _build(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from data.check.progress import progress_bar
    from rl.data_build.config import BuildRecipe
    from rl.recipe.reader import load_as
    from rl.run_dir.lock import locked

    recipe = load_as(BuildRecipe, chosen.recipe, chosen.overrides)
    from rl.data_build.build import BuildStopped, make_sets_only, prepare_build, run_build  # late: it imports Ray

    console = Console(highlight=False, soft_wrap=True)
    try:
        with locked(Path(recipe.run_dir)):
            if chosen.sets_only:
                return _print_cards(make_sets_only(recipe), Path(recipe.run_dir), console)
            build = prepare_build(recipe, chosen.accept_changed)
            with progress_bar(Console(stderr=True)) as progress:
                cards = run_async(run_build(build, progress), terminated=EXIT_CODE)
    except BuildStopped as error:
        print(f"interleave: the build stopped: {error}", file=sys.stderr)
        return 1
    return _print_cards(cards, build.out, console)


def _print_cards(cards: list[Card], out: Path, console: Console) -> int:
    for name, count in cards[0].stages.items() if cards else ():
        console.print(f"{count:>9,} {name}")
    for card in cards:
        sides = ", ".join(f"{counts['records']:,} {side}" for side, counts in card.records.items())
        num_dropped = sum(card.dropped.values())
        console.print(f"{card.set:12} {sides}; {num_dropped:,} dropped  {out / card.set}/card.md", markup=False)
    for kind, count in cards[0].bad.items() if cards else ():
        console.print(f"{count:>9,} bad: {kind}, for example {cards[0].bad_examples[kind][0]}", markup=False)
    return 0


def _rewrite(chosen: argparse.Namespace) -> int:
    from rl.warm_up import load_rewrite_recipe, rewrite  # late: it imports Ray
    from rl.writable import check_writable

    if chosen.num < 0:
        raise ValueError(f"--num is {chosen.num}; expected 0 or more")
    check_writable(chosen.out, "--out")
    recipe = load_rewrite_recipe(chosen.recipe, chosen.overrides)
    counted = run_async(rewrite(recipe, chosen.out, chosen.num, num_answers=chosen.answers))
    for side, counts in counted.items():
        print(f"{side:8} {counts}\n         {chosen.out / side}.jsonl")
    if not all(counts.num_strict + counts.num_lenient for counts in counted.values()):
        print("interleave: a file is empty: there is nothing to teach", file=sys.stderr)
        return 1
    print(
        f"then     interleave sft recipes/critic_sft.yaml policy.model={recipe.policy.model} "
        f"data.train={chosen.out}/train.jsonl data.heldout={chosen.out}/heldout.jsonl"
    )
    return 0


def _verl(chosen: argparse.Namespace) -> int:
    from rl.recipe.reader import load_recipe
    from rl.verl_data import write_verl_data  # late: it imports Ray
    from rl.writable import check_writable

    check_writable(chosen.out, "--out")
    for split, count in write_verl_data(load_recipe(chosen.recipe, chosen.overrides), chosen.out).items():
        print(f"{split:8} {count:>10,} tasks  {chosen.out / split}.parquet")
    print(f"loop     {chosen.out / 'agent_loop.yaml'}")
    return 0
