"""The commands `interleave generate`, `interleave export` and `interleave eval stories`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from rl.story_config import StoryRecipe, load_story_recipe


def add_story_commands(commands: argparse._SubParsersAction) -> None:
    """Add the commands to the command line's parser; what they need is imported when they run."""
    generate = _add(commands, "generate", _generate, "tell a story: plan a request, draw its steps, criticise, try again")
    generate.add_argument("request", help='what is asked for, like "How do I draw a cat, step by step?"')
    generate.add_argument("overrides", nargs="*", help="key=value, like critic.model=runs/mine/export")
    generate.add_argument("--recipe", type=Path, required=True, help="recipe YAML, or the folder of a bundle")
    generate.add_argument(
        "--image", type=Path, action="append", default=[], help="an image that the request goes on from; more than once"
    )
    generate.add_argument("--tries", type=int, default=0, help="most tries of a step; default: the recipe's (5)")
    generate.add_argument("--seed", type=int, default=0)
    generate.add_argument("--out", type=Path, help="folder of the story; default: runs/stories/<request>-<now>")
    export = _add(commands, "export", _export, "bundle planner, critic and recipe in one folder, for generate --recipe")
    export.add_argument("recipe", type=Path, help="recipe YAML of stories")
    export.add_argument("overrides", nargs="*", help="key=value, like critic.model=runs/mine/export")
    export.add_argument("--out", type=Path, required=True, help="a new folder")
    export.add_argument("--generator", action="store_true", help="put the generator in, too, where it is a folder")


def _add(commands: argparse._SubParsersAction, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    return parser


def _generate(chosen: argparse.Namespace) -> int:
    recipe = load_story_recipe(chosen.recipe, chosen.overrides)
    for image in chosen.image:
        if not image.is_file():
            raise ValueError(f"--image {image}: there is no such file")
    try:
        return asyncio.run(_tell(recipe, chosen))
    except KeyboardInterrupt:
        print("interleave: interrupted; what was told is in its folder", file=sys.stderr)
        return 130


async def _tell(recipe: StoryRecipe, chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from actors.store import Store
    from rl.story_folder import StoryFolder, default_folder, made_by
    from rl.story_progress import Progress
    from rl.story_run import open_story, prepare_story  # late: they import torch and Ray
    from rollout.story import Planned, StepTold, StoryRequest, StoryStatus, StoryTold

    StoryRequest(chosen.request, tries=chosen.tries)  # a bad one is refused before anything starts
    prepare_story(recipe)
    folder = StoryFolder(chosen.out or default_folder(chosen.request), Store(Path(recipe.store).resolve()), made_by(recipe))
    console = Console(highlight=False, soft_wrap=True)
    with console.status("starting the actors") as status:
        async with open_story(recipe) as teller:
            status.update("planning")
            progress, told = Progress(console, status), None
            async for event in teller.events(chosen.request, chosen.image, seed=chosen.seed, tries=chosen.tries):
                progress.show(event)
                if isinstance(event, Planned | StepTold | StoryTold):
                    told, page = event.story, await asyncio.to_thread(folder.save, event.story)
    assert told is not None
    console.print(f"story   {folder.path / 'story.json'}\npage    {page}")
    return 0 if told.status is StoryStatus.DONE else 1


def _export(chosen: argparse.Namespace) -> int:
    from rl.story_bundle import write_bundle

    for line in write_bundle(load_story_recipe(chosen.recipe, chosen.overrides), chosen.out, chosen.generator):
        print(line)
    return 0
