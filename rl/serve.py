"""`interleave serve`: the generator of a recipe, or a whole storyteller, behind HTTP until it is told to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

from rich.console import Console
from starlette.applications import Starlette

from actors.cluster import ray_cluster
from actors.config import GeneratorConfig
from actors.generator.api import check_api
from actors.generator.generator import Generator
from actors.generator.settings import check_generator
from actors.store.peers import managed_store
from actors.web.config import ServiceConfig, read_service_key
from actors.web.image_service import ImageService
from actors.web.service import build_app, openai_error, require_key
from actors.web.serving import listening, until_stopped
from actors.web.story_route import story_route
from rl.recipe.config import Recipe
from rl.recipe.layers import layers_of, recipe_path
from rl.recipe.reader import load_as
from rl.run_dir.start import placed_generator
from rl.story.config import StoryRecipe, load_story_recipe
from rl.story.run import prepare_story, story_stack
from rollout.text.limits import NonNegativeFloat, PositiveInt, RequiredPath, RunName, check_fields
from rollout.text.seeds import seed_of


@dataclass(frozen=True)
class ServeRecipe:
    """What `interleave serve` reads: a recipe of its own, or these parts of a training recipe."""

    name: RunName = "serve"
    run_dir: RequiredPath = "runs/${name}"
    store: RequiredPath = "runs/store"
    """Images and answers; the same request is answered from here."""
    store_is_shared: bool = True
    store_limit_gib: NonNegativeFloat = 0.0
    """Least recently used images and answers go above this size; 0: no limit."""
    num_cpus: PositiveInt = 16
    """Logical CPUs told to a Ray that the service starts itself."""
    ray_address: str = ""
    """A running cluster's address (or `auto`), whose nodes the replicas spread over; empty: start Ray here."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    service: ServiceConfig = field(default_factory=ServiceConfig)

    def __post_init__(self) -> None:
        check_fields(self, "")


def load_serve_recipe(path: Path, overrides: list[str]) -> ServeRecipe:
    """Read a recipe and leave out what only training needs. Raises ValueError."""
    ours = {one.name for one in fields(ServeRecipe)}
    only_training = {one.name for one in fields(Recipe)} - ours
    return load_as(ServeRecipe, path, overrides, without=only_training)


def load_served(path: Path, overrides: list[str]) -> ServeRecipe | StoryRecipe:
    """Read what is to be served: a recipe of stories, or a bundle, is one that has a planner. Raises ValueError."""
    if recipe_path(path).is_dir() or any("planner" in layer.content for layer in layers_of(path)):
        return load_story_recipe(path, overrides)
    return load_serve_recipe(path, overrides)


async def serve(recipe: ServeRecipe, console: Console | None = None) -> None:
    """Start the pool and its HTTP front; return when a signal stops it. Raises ValueError for what cannot work."""
    console = console or Console(highlight=False, soft_wrap=True)
    key = read_service_key(recipe.service)
    config = placed_generator(recipe.generator)
    check_generator(config)
    check_api(config)
    store_root = str(Path(recipe.store).resolve())
    service = f"serve-{seed_of(Path(recipe.run_dir).resolve()):08x}"
    attended = managed_store(
        store_root, is_shared=recipe.store_is_shared, limit_gib=recipe.store_limit_gib, run_start=math.inf
    )  # a service runs on and on: what it used long ago may go
    console.print(f"[bold]{recipe.name}[/]  starting {config.name or config.model} ...")
    async with ray_cluster(recipe.ray_address, recipe.num_cpus), attended:
        ledger = Path(recipe.run_dir) / "ledger"
        generator = await Generator.start(config, store_root, service, ledger)
        await _listen(build_app(ImageService(generator, recipe.service), key), generator, recipe.service, console)


async def serve_stories(recipe: StoryRecipe, console: Console | None = None) -> None:
    """Start a storyteller; its generator has the routes of `serve`, and `POST /v1/interleave` tells stories."""
    console = console or Console(highlight=False, soft_wrap=True)
    key = read_service_key(recipe.service)
    plan = prepare_story(recipe)
    console.print(f"[bold]{recipe.name}[/]  starting planner, generator and critic ...")
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
        console.print("stopping")
