"""The commands `interleave generate`, `interleave export` and `interleave eval stories`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from rl.cli.arguments import Parser, add_command, add_group, add_trust_code, file_path, numbers, score, whole_number
from rl.cli.official import add_official_commands
from rl.cli.run_to_end import run_async
from rl.story.config import StoryRecipe, load_story_recipe
from rl.story.trust import load_trusted
from rollout.text.limits import Tilde


def add_story_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the commands to the command line's parser; what they need is imported when they run."""
    generate = add_command(
        commands, "generate", _generate, "tell a story: plan a request, draw its steps, criticise, try again"
    )
    generate.add_argument("request", help='what is asked for, like "How do I draw a cat, step by step?"')
    generate.add_argument("overrides", nargs="*", default=[], help="key=value, like critic.model=runs/mine/export")
    generate.add_argument("--recipe", type=file_path, required=True, help="recipe YAML, or the folder of a bundle")
    generate.add_argument(
        "--image",
        type=file_path,
        action="append",
        default=[],
        help="an image to go on from; more than once",
    )
    generate.add_argument("--tries", type=int, default=0, help="most tries of a step; default: the recipe's (5)")
    generate.add_argument("--seed", type=int, default=0)
    generate.add_argument("--out", type=file_path, help="folder of the story; default: runs/stories/<request>-<now>")
    add_trust_code(generate)
    export = add_command(
        commands, "export", _export, "bundle planner, critic and recipe in one folder, for generate --recipe"
    )
    export.add_argument("recipe", type=file_path, help="recipe YAML of stories")
    export.add_argument("overrides", nargs="*", default=[], help="key=value, like critic.model=runs/mine/export")
    export.add_argument("--out", type=file_path, required=True, help="a new folder")
    export.add_argument("--generator", action="store_true", help="put the generator in, too, where it is a folder")
    evals = add_group(commands, "eval", "benchmarks on trained agents")
    _add_stories(evals)
    add_official_commands(evals)
    _add_verdicts(evals)


def _add_stories(evals: argparse._SubParsersAction[Parser]) -> None:
    stories = add_command(evals, "stories", _eval_stories, "measure what planner and critics add to a generator")
    stories.add_argument("recipe", type=file_path, help="recipe YAML of stories, or the folder of a bundle")
    stories.add_argument("overrides", nargs="*", default=[], help="key=value")
    stories.add_argument(
        "--critic",
        action="append",
        default=[],
        metavar="NAME=MODEL",
        help="a critic to measure, like rl=runs/mine/export; more than once; default: the recipe's",
    )
    stories.add_argument(
        "--checkpoints",
        type=file_path,
        metavar="RUN",
        help="measure a run's exports (keep_exports=true), and how its held-out reward goes with satisfied steps",
    )
    stories.add_argument("--stories", type=file_path, help="JSONL of id, request, instructions; default: shapes'")
    stories.add_argument("--num", type=int, default=100, help="stories of the shapes world; default: 100")
    stories.add_argument(
        "--form",
        choices=["then", "show"],
        default="then",
        help="how they ask: Draw X, then Y; or Show in 2 steps: X and Y",
    )
    add_trust_code(stories)
    stories.add_argument("--tries", type=numbers, default=[1, 3, 5], help="default: 1,3,5")
    stories.add_argument("--semantics", type=score, default=9.0, help="a step is satisfied from here; default: 9")
    stories.add_argument("--quality", type=score, default=5.0, help="and from here; default: 5")
    stories.add_argument(
        "--oracle",
        action="store_true",
        help="also with a perfect verdict, and with the best prompts where the recipe's oracle.fn knows them",
    )
    stories.add_argument("--out", type=file_path, default=Path("runs/eval_stories.json"), help="default: %(default)s")


def _add_verdicts(evals: argparse._SubParsersAction[Parser]) -> None:
    verdicts = add_command(
        evals, "verdicts", _eval_verdicts, "measure a critic's verdicts on held-out tasks, and calibrate its threshold"
    )
    verdicts.add_argument("recipe", type=file_path, help="recipe YAML of stories, or the folder of a bundle")
    verdicts.add_argument("overrides", nargs="*", default=[], help="key=value, like critic.votes=3")
    add_trust_code(verdicts)
    heldout = Path("recipes/shapes/tasks/heldout.jsonl")
    verdicts.add_argument("--data", type=file_path, default=heldout, help="records of RL; default: %(default)s")
    verdicts.add_argument("--num", type=whole_number, default=0, help="how many of them; default: all")
    verdicts.add_argument("--most", type=float, default=0.1, help="wrong images that may pass; default: %(default)s")
    verdicts.add_argument("--out", type=file_path, default=Path("runs/eval_verdicts.json"), help="default: %(default)s")


def _generate(chosen: argparse.Namespace) -> int:
    recipe = load_trusted(chosen.recipe, chosen.overrides, trusts_code=chosen.trust_code)
    for image in chosen.image:
        if not image.is_file():
            raise ValueError(f"--image {image}: there is no such file")
    try:
        return run_async(_tell(recipe, chosen))
    except KeyboardInterrupt:
        print("interleave: interrupted; what was told is in its folder", file=sys.stderr)
        return 130


async def _tell(recipe: StoryRecipe, chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from actors.store.store import Store
    from actors.storyteller import read_picture
    from rl.run_dir.lock import locked
    from rl.story.folder import StoryFolder, default_folder, made_by
    from rl.story.progress import Progress
    from rl.story.run import open_story, prepare_story  # late: they import torch and Ray
    from rollout.story import Planned, StepTold, StoryStatus, StoryTold
    from rollout.types import Request

    Request(chosen.request, tries=chosen.tries).checked()  # a bad one is refused before anything starts
    prepare_story(recipe, befores=[str(chosen.image[-1]) if chosen.image else None])
    images = [read_picture(image) for image in chosen.image]
    path = chosen.out or default_folder(chosen.request)
    console = Console(highlight=False, soft_wrap=True)
    with locked(path, "--out"), console.status("starting the actors") as status:
        folder = StoryFolder(path, Store(recipe.store), made_by(recipe))
        async with open_story(recipe) as storyteller:
            status.update("planning")
            progress, told = Progress(console, status), None
            async for event in storyteller.events(chosen.request, images, seed=chosen.seed, tries=chosen.tries):
                progress.show(event)
                if isinstance(event, Planned | StepTold | StoryTold):
                    told, page = event.story, await asyncio.to_thread(folder.save, event.story)
    assert told is not None
    console.print(f"story   {folder.path / 'story.json'}\npage    {page}", markup=False)
    return 0 if told.status is StoryStatus.DONE else 1


def _export(chosen: argparse.Namespace) -> int:
    from rl.story.bundle import write_bundle

    # A bundle's code is copied and not run.
    for line in write_bundle(load_story_recipe(chosen.recipe, chosen.overrides), chosen.out, chosen.generator):
        print(line)
    return 0


def _eval_stories(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from evals.stories import Bar, read_stories
    from recipes.shapes.stories import eval_stories
    from rl.story.checkpoint_evaluation import run_checkpoint_eval
    from rl.story.evaluation import run_story_eval
    from rl.writable import check_file_writable

    overrides = [*chosen.overrides, "oracle.is_measured=true"] if chosen.oracle else chosen.overrides
    recipe = load_trusted(chosen.recipe, overrides, trusts_code=chosen.trust_code)
    named = [_named(text) for text in chosen.critic]
    if twice := next((name for name, model in named if (name, model) != (name, dict(named)[name])), ""):
        raise ValueError(f"--critic {twice}=...: it is given twice; expected a name for each")
    critics = dict(named) or {"critic": recipe.critic.model}
    if chosen.critic and chosen.checkpoints:
        raise ValueError("--critic and --checkpoints: expected one of them; a run's exports are the critics")
    if chosen.out.suffix == ".html":
        raise ValueError(f"--out {chosen.out}: expected a name for the JSON; the page gets the same with .html")
    if min(chosen.tries) < 1 or chosen.num < 1:
        raise ValueError(f"--tries {chosen.tries} and --num {chosen.num}: expected 1 or more")
    stories = read_stories(chosen.stories) if chosen.stories else eval_stories(chosen.num, chosen.form)
    console, bar = Console(highlight=False, soft_wrap=True), Bar(chosen.semantics, chosen.quality)
    for file in (chosen.out, chosen.out.with_suffix(".html")):
        check_file_writable(file, "--out")
    how: dict[str, Any] = {"tries": chosen.tries, "bar": bar, "out": chosen.out, "console": console}
    if chosen.checkpoints:
        run_async(run_checkpoint_eval(chosen.checkpoints, recipe, stories, **how))
    else:
        run_async(run_story_eval(recipe, stories, critics, **how))
    return 0


def _eval_verdicts(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from data.table.record_table import open_tasks
    from rl.recipe.paths import resolve_path
    from rl.story.calibration import run_calibration
    from rl.writable import check_file_writable

    recipe = load_trusted(chosen.recipe, chosen.overrides, trusts_code=chosen.trust_code)
    if not 0 <= chosen.most < 1:
        raise ValueError(f"--most {chosen.most}: expected a share from 0 to below 1")
    check_file_writable(chosen.out, "--out")
    records = open_tasks(resolve_path(str(chosen.data)))
    tasks = [records[place] for place in range(min(chosen.num or len(records), len(records)))]
    console = Console(highlight=False, soft_wrap=True)
    run_async(run_calibration(recipe, tasks, most=chosen.most, out=chosen.out, console=console))
    return 0


def _named(text: str) -> tuple[str, str]:
    name, is_pair, model = text.partition("=")
    if not is_pair or not name or not model:
        raise ValueError(f"--critic {text}: expected NAME=MODEL, like rl=runs/mine/export")
    return name, Tilde().expand(model)
