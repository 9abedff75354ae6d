"""Start what a story's recipe names, and tell stories with it: the Python API of `interleave generate`.

    from rl.story.run import open_story

    async with open_story("recipes/shapes_story.yaml") as storyteller:
        story = await storyteller.tell("Draw a red circle at the left, then a blue square at the top.")
        for step in story.steps:
            print(step.status, step.plan.instruction)
            storyteller.picture(step.image).save(f"{step.plan.number}.png")

`storyteller.events(...)` yields what happens as it happens; many stories may be told at once, by `asyncio.gather`.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from actors.config import GeneratorConfig, SamplerConfig
from actors.generator.generator import Generator
from actors.generator.kind import check_generator
from actors.generator.probe import probe_generator
from actors.judge.judge import check_judge, start_judge
from actors.judge.probe import probe_judges
from actors.sampler.sampler import Samplers
from actors.sampler.token_texts import token_texts
from actors.store.store import Store
from actors.storyteller import Storyteller
from rewards.compose import why_not_loaded
from rewards.functions.import_path import load_function
from rl.launch import check_launch, launch
from rl.recipe.paths import model_path, placed_generator, read_prompt
from rl.story.config import PlannerConfig, StoryRecipe
from rl.story.trust import load_trusted
from rollout.agents import FunctionPlanner, ModelCritic, ModelPlanner
from rollout.concurrency import all_settled
from rollout.roles import Judge, Planner, Sampler
from rollout.storyline import Storyline
from rollout.text.critique import FIELDS, NUM_IMAGES, render_messages
from rollout.text.plan import FIELDS as PLAN_FIELDS
from rollout.text.plan import render_request
from rollout.text.readers import READERS
from rollout.types import Attempt, ImageRef, SamplingParams
from rollout.verdict import VerdictRule


@dataclass(frozen=True)
class PreparedStory:
    """A recipe, checked, with all that can be read before anything starts."""

    recipe: StoryRecipe
    generator: GeneratorConfig
    """With its model's folder found."""
    planner: FunctionPlanner | str
    """The function, or the text of the model's prompt file."""
    critic: str
    """Text of the critic's prompt file; empty: no critic."""
    has_judge: bool = False
    guidance: str = ""
    """Text of the planner's prompt file for requests with images; empty: it has one for all."""


@dataclass(frozen=True)
class StoryStack:
    """Every actor of a storyteller, started."""

    storyteller: Storyteller
    generator: Generator
    judge: Judge | None
    more_critics: tuple[ModelCritic, ...] = ()
    """Beside the recipe's own one."""


def prepare_story(
    recipe: StoryRecipe, *, has_judge: bool = False, befores: Iterable[ImageRef | None] = ()
) -> PreparedStory:
    """Check everything that can be wrong with a recipe before it costs anything. Raises ValueError.

    `has_judge` starts the judge even where the recipe does not choose by it. `befores` are the images that first
    steps edit, as far as they are known (None: they are made from words alone); the generator has to be able to.
    """
    has_judge = has_judge or recipe.best_of == "judge"
    generator = placed_generator(recipe.generator)
    check_generator(generator, befores)
    if has_judge:
        check_judge(recipe.judge)
    critic = ""
    if recipe.critic.kind == "model":
        model_path(recipe.critic.model, "critic.model")
        critic = read_prompt(recipe.critic.prompt, "critic.prompt", FIELDS, NUM_IMAGES)
        render_messages(critic, Attempt(1, 1, "an instruction", "a prompt", seed=0))
    planner, guidance = _planner(recipe.planner), ""
    if recipe.planner.kind == "model" and recipe.planner.guidance_prompt:
        guidance = _plan_prompt(recipe.planner.guidance_prompt, "planner.guidance_prompt")
    check_launch(recipe, {"judge": recipe.judge} if has_judge else None)
    return PreparedStory(recipe, generator, planner, critic, has_judge, guidance)


@asynccontextmanager
async def open_story(
    recipe: StoryRecipe | Path | str, overrides: Sequence[str] = (), *, trusts_code: bool = False
) -> AsyncIterator[Storyteller]:
    """Start a storyteller from a recipe, its file or a bundle's folder; stop it on exit.

    Raises ValueError, also for a bundle that brings code unless it is trusted.
    """
    if not isinstance(recipe, StoryRecipe):
        recipe = load_trusted(Path(recipe), list(overrides), trusts_code=trusts_code)
    async with story_stack(prepare_story(recipe)) as stack:
        yield stack.storyteller


@asynccontextmanager
async def story_stack(plan: PreparedStory, more_critics: Sequence[str] = ()) -> AsyncIterator[StoryStack]:
    """Start every actor of a recipe at once, with samplers for further critics' models; stop them on exit."""
    recipe = plan.recipe
    if plan.has_judge:
        await probe_judges({"judge": recipe.judge})
    await probe_generator(plan.generator)
    critics = [recipe.critic.model, *more_critics] if plan.critic else []
    async with launch(recipe) as job:
        pool, planner, judge, samplers = await job.start(
            generator=Generator.start(plan.generator, job.store_root, f"generator-{job.run_id}", job.ledger),
            planner=_start_planner(plan, job.store_root),
            judge=start_judge(recipe.judge, job.store_root, f"judge-{job.run_id}", job.ledger)
            if plan.has_judge
            else None,
            critic=all_settled(
                _start_sampler(recipe, recipe.critic.samplers, model, "critic.model", job.store_root)
                for model in critics
            ),
        )
        made = [_critic(plan, *pair) for pair in zip(samplers, critics, strict=True)]
        storyline = Storyline(
            planner=planner,
            generator=pool,
            critic=made[0] if made else None,
            judge=judge if recipe.best_of == "judge" else None,
            is_surest_shown=recipe.best_of == "critic",
            tries=recipe.tries,
            num_plans=recipe.planner.num_attempts,
            num_critiques=recipe.critic.num_attempts,
            shown=recipe.critic.shown,
            num_references=recipe.num_references,
            rule=VerdictRule(recipe.critic.votes, recipe.critic.threshold),
            answers=READERS[recipe.answers],
        )
        yield StoryStack(Storyteller(storyline, Store(job.store_root)), pool, judge, tuple(made[1:]))


@asynccontextmanager
async def open_critic(plan: PreparedStory) -> AsyncIterator[ModelCritic]:
    """Start a recipe's critic alone; stop it on exit."""
    recipe, config = plan.recipe, plan.recipe.critic
    async with launch(recipe) as job:
        coming = _start_sampler(recipe, config.samplers, config.model, "critic.model", job.store_root)
        (sampler,) = await job.start(critic=coming)
        yield _critic(plan, sampler, config.model)


def _planner(config: PlannerConfig) -> FunctionPlanner | str:
    if config.kind == "function":
        try:
            return FunctionPlanner(load_function(config.fn))
        except Exception as error:
            raise ValueError(f"planner.fn is {config.fn!r}: {why_not_loaded(error)}") from error
    model_path(config.model, "planner.model")
    return _plan_prompt(config.prompt, "planner.prompt")


def _plan_prompt(path: str, key: str) -> str:
    template = read_prompt(path, key, PLAN_FIELDS)
    render_request(template, "a request")
    return template


async def _start_planner(plan: PreparedStory, store_root: str) -> Planner:
    if isinstance(plan.planner, FunctionPlanner):
        return plan.planner
    config = plan.recipe.planner
    sampler = await _start_sampler(plan.recipe, config.samplers, config.model, "planner.model", store_root)
    params = SamplingParams(config.temperature, config.max_tokens)
    return ModelPlanner(
        sampler,
        plan.planner,
        params,
        guidance=plan.guidance,
        left_out=tuple(config.left_out),
        many_images=config.many_images,
    )


async def _start_sampler(recipe: StoryRecipe, config: SamplerConfig, model: str, key: str, store_root: str) -> Samplers:
    return await Samplers.start(
        config, model_path(model, key), store_root=store_root, max_pixels=recipe.max_pixels, is_published=False
    )


def _critic(plan: PreparedStory, sampler: Sampler, model: str) -> ModelCritic:
    config = plan.recipe.critic
    is_asked_how_sure = config.threshold or plan.recipe.best_of == "critic"
    split = token_texts(model_path(model, "critic.model")) if is_asked_how_sure else None
    params = SamplingParams(config.temperature, config.max_tokens)
    return ModelCritic(sampler, plan.critic, params, split, config.sure_by)
