from pathlib import Path

import pytest

from evals.official.registry import BENCHMARKS, load_benchmark
from rl.official.config import OfficialRecipe, agent_of, load_judge
from rl.recipe.reader import load_as, to_yaml
from rl.story.config import load_story_recipe

UEVAL = load_benchmark("ueval")


@pytest.fixture
def stories():
    return load_story_recipe("recipes/shapes_story.yaml")


def test_the_generator_alone_needs_no_other_model(stories):
    agent = agent_of(stories, "ueval", Path("out"), is_alone=True)
    assert list(agent.roles) == ["generator"]
    assert agent.tries == 1
    assert agent.folder == Path("out")


def test_an_agent_is_its_recipe_with_a_folder(stories, tmp_path):
    agent = agent_of(stories, "wise", tmp_path, seed=4)
    assert (agent.planner, agent.critic, agent.generator) == (stories.planner, stories.critic, stories.generator)
    (tmp_path / "recipe.yaml").write_text(to_yaml(agent))
    assert load_as(OfficialRecipe, tmp_path / "recipe.yaml") == agent


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_has_the_settings_of_its_judge(name):
    assert load_judge(load_benchmark(name), []).model


def test_a_judge_may_be_another_one(tmp_path):
    judge = load_judge(UEVAL, ["model=gpt-4o", "call.max_tokens=50"])
    assert (judge.model, judge.call) == ("gpt-4o", {"temperature": None, "max_tokens": 50})
    (tmp_path / "mine.yaml").write_text("judge: {kind: vllm, model: mine}\n")
    mine = load_judge(UEVAL, [str(tmp_path / "mine.yaml"), "max_concurrency=3"], budget_usd=2.0)
    assert (mine.kind, mine.model, mine.max_concurrency, mine.budget_usd) == ("vllm", "mine", 3, 0.0)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (["modle=x"], "unknown key judge.modle; did you mean model"),
        (["a.yaml", "b.yaml"], "--judge names 2 files, a.yaml and b.yaml"),
    ],
)
def test_a_bad_judge_is_refused(said, told):
    with pytest.raises(ValueError, match=told):
        load_judge(UEVAL, said)


def test_a_judge_that_is_no_model_is_refused():
    with pytest.raises(ValueError, match="--judge kind=embedded: a benchmark's judge is asked in words"):
        load_judge(load_benchmark("wise_verified"), ["kind=embedded"])


def test_a_budget_needs_prices():
    with pytest.raises(ValueError, match="needs the price of every endpoint"):
        load_judge(load_benchmark("wise_verified"), [], budget_usd=1.0)
    assert load_judge(UEVAL, [], budget_usd=1.0).budget_usd == 1.0
