"""`interleave serve`: the generator of a recipe, or a whole storyteller, behind HTTP until it is told to stop."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from starlette.applications import Starlette

from actors import ending
from actors.config import GeneratorConfig
from actors.generator.generator import Generator
from actors.generator.kind import check_generator
from actors.generator.probe import probe_generator
from actors.resources import Role
from actors.web.config import ServiceConfig, read_service_key
from actors.web.image_service import ImageService
from actors.web.service import build_app, openai_error, require_key
from actors.web.serving import check_address, listening, until_stopped
from actors.web.story_route import story_route
from rl.launch import check_launch, launch
from rl.recipe.config import Recipe
from rl.recipe.jobs import RunRecipe
from rl.recipe.layers import layers_of, recipe_path
from rl.recipe.paths import placed_generator
from rl.recipe.reader import load_as
from rl.story.config import StoryRecipe
from rl.story.run import prepare_story, story_stack
from rl.story.trust import load_trusted
from rollout.text.limits import RunName


@dataclass(frozen=True)
class ServeRecipe(RunRecipe):
    """What `interleave serve` reads: a recipe of its own, or these parts of a training recipe.

    Images and answers are in the store, from which the same request is answered; over a cluster's nodes
    (`ray_address`) the replicas spread.
    """

    name: RunName = "serve"
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    service: ServiceConfig = field(default_factory=ServiceConfig)

    @property
    def roles(self) -> Mapping[str, Role]:
        return {"generator": self.generator}


def load_serve_recipe(path: Path, overrides: list[str]) -> ServeRecipe:
    """Read a recipe and leave out what only training needs. Raises ValueError."""
    ours = {one.name for one in fields(ServeRecipe)}
    only_training = {one.name for one in fields(Recipe)} - ours
    return load_as(ServeRecipe, path, overrides, without=only_training)


def load_served(path: Path, overrides: list[str], *, trusts_code: bool = False) -> ServeRecipe | StoryRecipe:
    """Read what is to be served: a recipe of stories, or a bundle, is one that has a planner. Raises ValueError."""
    if recipe_path(path).is_dir() or any("planner" in layer.content for layer in layers_of(path)):
        return load_trusted(path, overrides, trusts_code=trusts_code)
    return load_serve_recipe(path, overrides)


async def serve(recipe: ServeRecipe, console: Console | None = None) -> None:
    """Start the pool and its HTTP front; return when a signal stops it. Raises ValueError for what cannot work."""
    console = console or Console(highlight=False, soft_wrap=True)
    key = read_service_key(recipe.service)
    config = placed_generator(recipe.generator)
    check_generator(config)
    check_launch(recipe)
    check_address(recipe.service)
    await probe_generator(config)
    console.print(
        f"[bold]{escape(recipe.name)}[/]  starting {escape(str(config.name or config.model or config.kind))} ..."
    )
    async with launch(recipe, run_start=math.inf) as job:  # it runs on and on: what it used long ago may go
        (generator,) = await job.start(
            generator=Generator.start(config, job.store_root, f"serve-{job.run_id}", job.ledger)
        )
        await _listen(build_app(ImageService(generator, recipe.service), key), generator, recipe.service, console)


async def serve_stories(recipe: StoryRecipe, console: Console | None = None) -> None:
    """Start a storyteller; its generator has the routes of `serve`, and `POST /v1/interleave` tells stories."""
    console = console or Console(highlight=False, soft_wrap=True)
    key = read_service_key(recipe.service)
    check_address(recipe.service)
    plan = prepare_story(recipe)
    console.print(f"[bold]{escape(recipe.name)}[/]  starting planner, generator and critic ...")
    async with story_stack(plan) as stack:
        guard = partial(require_key, key=key, shape=openai_error)
        route = story_route(stack.storyteller, guard=guard, config=recipe.service)
        app = build_app(ImageService(stack.generator, recipe.service), key, [route])
        await _listen(app, stack.generator, recipe.service, console)


async def _listen(app: Starlette, generator: Generator, config: ServiceConfig, console: Console) -> None:
    async with listening(app, config) as url:
        console.print(f"{url}  {generator.spec.name}: {generator.spec.abilities}")
        console.print(
            f"key     {'from ' + config.api_key_env if read_service_key(config) else 'none: this machine alone'}"
        )
        await until_stopped()
        ending.begin(0)
        console.print("stopping")
