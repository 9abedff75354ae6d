"""How a storyteller's actors are put together, on fakes in place of what is started."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from actors.sampler.sampler import Samplers
from rl import launch as launching
from rl.recipe.config import REPO
from rl.story import run as telling
from rl.story.config import load_story_recipe
from rl.story.run import open_story, prepare_story, story_stack
from rollout.agents import FunctionPlanner, ImageLimit, ModelPlanner
from rollout.text.readers import READERS
from rollout.types import SamplingParams
from tests.support.fakes import FakeGenerator, FakeJudge

SHAPES = REPO / "recipes" / "shapes_story.yaml"


@pytest.fixture
def started(monkeypatch):
    """What was started, by role, with the model that it was started with."""
    log: list[tuple[str, str]] = []

    class Recorded(FakeGenerator):
        @classmethod
        async def start(cls, config, store_root, service, ledger):
            log.append(("generator", config.model))
            return cls()

    async def sampler(config, model, *, store_root, max_pixels, is_published):
        assert not is_published
        log.append(("sampler", model))
        if model.endswith("broken"):
            raise RuntimeError("no GPU")
        return ("sampler of", model)

    async def judge(config, store_root, service, ledger):
        log.append(("judge", config.scorer))
        return FakeJudge()

    @asynccontextmanager
    async def nothing(*arguments, **settings):
        log.append(("up", ""))
        try:
            yield
        finally:
            log.append(("down", ""))

    monkeypatch.setattr(telling, "Generator", Recorded)
    monkeypatch.setattr(Samplers, "start", sampler)
    monkeypatch.setattr(telling, "token_texts", lambda model: ("texts of", model))
    monkeypatch.setattr(telling, "start_judge", judge)
    monkeypatch.setattr(launching, "ray_cluster", nothing)
    monkeypatch.setattr(launching, "managed_store", nothing)
    return log


def storyline_of(*overrides: str):
    async def opened():
        async with open_story(SHAPES, list(overrides)) as storyteller:
            return storyteller.storyline

    return asyncio.run(opened())


def test_a_recipe_says_who_is_started(started):
    line = storyline_of("critic.model=owner/critic", "critic.temperature=0.3", "tries=4", "num_references=2")
    assert sorted(started) == [
        *[("down", "")] * 2,
        ("generator", str(REPO / "recipes/shapes/weights/generator")),
        ("sampler", "owner/critic"),
        *[("up", "")] * 2,
    ]
    assert line.critic.sampler == ("sampler of", "owner/critic")
    assert line.critic.params == SamplingParams(0.3, 128)
    assert isinstance(line.planner, FunctionPlanner)
    assert (line.tries, line.num_references, line.judge) == (4, 2, None)
    assert line.answers is READERS["contract"]
    assert storyline_of("answers=public").answers is READERS["public"]
    with pytest.raises(ValueError, match="answers is 'pubic'"):
        storyline_of("answers=pubic")


def test_a_model_plans_with_a_sampler_and_a_prompt_of_its_own(started):
    line = storyline_of("planner.kind=model", "planner.model=owner/planner", "planner.num_attempts=2")
    assert isinstance(line.planner, ModelPlanner)
    assert line.planner.sampler == ("sampler of", "owner/planner")
    assert line.planner.template == (REPO / "recipes/prompts/planner.txt").read_text()
    assert line.num_plans == 2


def test_a_storyteller_is_told_what_the_public_systems_checkpoints_are_used_to(started, tmp_path):
    (tmp_path / "system.py").write_text(
        "PLAN = 'plan {text_input}'\nGO_ON = 'go on {text_input}'\n"
        "CRITIC = '<image><image> {original_instruction} {rewritten_prompt}'\nraise RuntimeError\n"
    )
    prompts = {"planner.prompt": "PLAN", "planner.guidance_prompt": "GO_ON", "critic.prompt": "CRITIC"}
    line = storyline_of(
        *("planner.kind=model", "planner.model=owner/planner", "planner.left_out=[' in words']", "critic.shown=prompt"),
        "planner.many_images.num_images=5",
        *(f"{key}={tmp_path}/system.py:{name}" for key, name in prompts.items()),
    )
    assert (line.planner.template, line.planner.guidance) == ("plan {request}", "go on {request}")
    assert (line.planner.left_out, line.planner.many_images) == ((" in words",), ImageLimit(5, 147456))
    assert (line.critic.template, line.shown) == ("<image><image> {instruction} {prompt}", "prompt")


def test_without_a_critic_no_sampler_is_started(started):
    assert storyline_of("critic.kind=none").critic is None
    assert not [what for what, _ in started if what == "sampler"]


def test_a_judge_is_started_where_it_chooses(started):
    assert isinstance(storyline_of("best_of=judge").judge, FakeJudge)
    assert ("judge", "recipes.shapes.judge.score") in started


def test_a_critic_chooses_by_the_probability_of_its_verdicts(started):
    line = storyline_of("best_of=critic", "critic.sure_by=answer")
    assert (line.is_surest_shown, line.judge) == (True, None)
    assert line.critic.split is not None
    assert line.critic.sure_by == "answer"
    line = storyline_of("best_of=last", "critic.threshold=0")
    assert (line.is_surest_shown, line.critic.split) == (False, None)


def test_an_evaluation_has_further_critics_and_a_judge_that_chooses_nothing(started):
    async def opened():
        recipe = load_story_recipe(SHAPES, ["critic.model=owner/sft"])
        async with story_stack(prepare_story(recipe, has_judge=True), ["owner/rl"]) as stack:
            return stack

    stack = asyncio.run(opened())
    assert [critic.sampler[1] for critic in stack.more_critics] == ["owner/rl"]
    assert stack.storyteller.storyline.critic.sampler[1] == "owner/sft"
    assert isinstance(stack.judge, FakeJudge)
    assert stack.storyteller.storyline.judge is None


def test_one_that_does_not_start_takes_all_down(started):
    with pytest.raises(RuntimeError, match="no GPU"):
        storyline_of("critic.model=owner/broken")
    assert started[-2:] == [("down", "")] * 2
    assert ("generator", str(REPO / "recipes/shapes/weights/generator")) in started  # it was waited for
