"""A key that its section's kind does not use is refused where it is set for that kind, and nowhere else."""

import pytest

from rl.data_build.config import BuildRecipe
from rl.recipe.reader import load_as, load_recipe, to_yaml

OWN = "judge.kind=./mine.py:Judge"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            [OWN, "judge.call.timeout_s=5"],
            "judge.call does nothing for judge.kind='.*mine.py:Judge': .*judge.timeout_s",
        ),
        ([OWN, "judge.model=m"], "judge.model does nothing"),
        ([OWN, "judge.scorer=foo.bar"], "judge.scorer does nothing"),
        (["judge.scorer=foo.bar", OWN], "judge.scorer does nothing"),
        (["judge.endpoints=[{model: m}]"], "judge.endpoints does nothing for judge.kind='embedded'"),
        (
            ["judge.kind=openai", "judge.model=m", "judge.server.gpus=2"],
            "judge.server does nothing for judge.kind='openai'",
        ),
        (["judge.kind=vllm", "judge.model=m", "judge.base_url=http://a/v1"], "judge.base_url does nothing"),
        (
            ["generator.name=", "generator.kind=./mine.py:It", "generator.call.strength=1"],
            "generator.call does nothing",
        ),
        (
            ["judge.kind=ensemble", "judge.scorer=", "judge.members=[{scorer: a.b}, {scorer: a.b, call: {n: 1}}]"],
            r"judge.members.1.call does nothing for judge.members.1.kind='embedded': .*judge.members.1.timeout_s",
        ),
        (
            ["evidence.it.judge={scorer: a.b}", "evidence.it.timeout_s=5"],
            r"evidence.it.timeout_s does nothing for evidence.it.kind='judge': .*evidence.it.judge.timeout_s",
        ),
        (["evidence.it.judge={scorer: a.b, base_url: http://a/v1}"], "evidence.it.judge.base_url does nothing"),
        (["benchmark.judge.scorer=a.b"], "benchmark.judge.scorer does nothing for benchmark.judge.kind='openai'"),
    ],
)
def test_it_is_one_line(overrides, words):
    with pytest.raises(ValueError, match=words) as error:
        load_recipe("shapes_grpo", overrides)
    assert str(error.value).startswith("command line: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["critic.temperature=0.5"], "critic.temperature does nothing for critic.kind='function'"),
        (["planner.ask.model=m"], "planner.ask does nothing for planner.kind='function'"),
        (["critic.kind=./mine.py:It", "critic.fn=", "critic.samplers.num_samplers=2"], "critic.samplers does nothing"),
        (["critic.fn=", "critic.ask={model: m, server: {gpus: 2}}"], "critic.ask.server does nothing .*='openai'"),
        (["expert={model: m, ask: {model: m}}"], "expert.ask does nothing for expert.kind='served'"),
    ],
)
def test_so_it_is_of_a_teacher(overrides, words):
    with pytest.raises(ValueError, match=words):
        load_as(BuildRecipe, "build_shapes", overrides)


def test_many_other_keys_make_no_difference(tmp_path):
    others = "num_replicas: 2, cpus_per_replica: 1, max_concurrency: 2, probe: false, options: {}"
    (tmp_path / "mine.yaml").write_text(
        f"extends: shapes_grpo.yaml\nname: mine\nevidence: {{it: {{judge: {{scorer: a.b}}, {others}, timeout_s: 5}}}}\n"
    )
    with pytest.raises(ValueError, match=r"evidence.it.cpus_per_replica does nothing"):
        load_recipe(tmp_path / "mine.yaml")


def test_so_it_is_in_a_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("extends: shapes_grpo.yaml\nname: mine\njudge: {kind: './mine.py:Judge', scorer: foo.bar}\n")
    with pytest.raises(ValueError, match=r"mine.yaml: judge.scorer does nothing"):
        load_recipe(file)


def test_what_is_inherited_is_passed_over_and_so_is_a_runs_own_recipe(tmp_path):
    recipe = load_recipe("shapes_grpo", [OWN, "generator.name=", "generator.kind=./mine.py:It"])
    assert recipe.judge.scorer
    assert recipe.generator.model
    kept = tmp_path / "recipe.yaml"
    kept.write_text(to_yaml(recipe))
    assert load_recipe(kept) == recipe
    kept.write_text(to_yaml(recipe).partition("\n")[2])  # as earlier versions wrote it
    assert load_recipe(kept) == recipe
    with pytest.raises(ValueError, match=r"judge.scorer does nothing"):
        load_recipe(kept, ["judge.scorer=foo.bar"])


def test_a_whole_recipe_of_any_kind_is_passed_over(tmp_path):
    recipe = load_as(BuildRecipe, "build_shapes", ["generator.name=", "generator.kind=./mine.py:It"])
    assert recipe.generator.model
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    assert load_as(BuildRecipe, tmp_path / "recipe.yaml") == recipe


def test_a_default_may_be_said(tmp_path):
    load_recipe("shapes_grpo", [OWN, "judge.scorer=", "judge.call={}", "judge.max_questions=8"])
