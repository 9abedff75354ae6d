"""A key that a judge's or generator's kind does not use is refused where it is set for that kind, and nowhere else."""

import pytest

from rl.recipe.reader import load_recipe, to_yaml

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
    ],
)
def test_it_is_one_line(overrides, words):
    with pytest.raises(ValueError, match=words) as error:
        load_recipe("shapes_grpo", overrides)
    assert str(error.value).startswith("command line: ")
    assert "\n" not in str(error.value)


def test_so_it_is_in_a_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("extends: shapes_grpo.yaml\nname: mine\njudge: {kind: './mine.py:Judge', scorer: foo.bar}\n")
    with pytest.raises(ValueError, match=r"mine.yaml: judge.scorer does nothing"):
        load_recipe(file)


def test_what_is_inherited_is_passed_over_and_so_is_a_runs_own_recipe(tmp_path):
    recipe = load_recipe("shapes_grpo", [OWN, "generator.name=", "generator.kind=./mine.py:It"])
    assert recipe.judge.scorer
    assert recipe.generator.model
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_a_default_may_be_said(tmp_path):
    load_recipe("shapes_grpo", [OWN, "judge.scorer=", "judge.call={}", "judge.max_questions=8"])
