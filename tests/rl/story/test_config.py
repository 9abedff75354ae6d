"""Recipes of stories and bundles: what loads, what is refused and how, and that a bundle stands on its own."""

import asyncio
import shutil
from dataclasses import replace

import pytest
from rich.console import Console

from evals.stories import Bar
from rl.cli.main import main
from rl.recipe.config import REPO
from rl.recipe.reader import load_as, to_yaml
from rl.story.bundle import write_bundle
from rl.story.config import OracleConfig, StoryRecipe, load_story_recipe
from rl.story.evaluation import _rephrase, run_story_eval
from rl.story.run import prepare_story


@pytest.fixture(autouse=True)
def _on_a_machine_with_gpus(monkeypatch):
    monkeypatch.setattr("rl.launch.num_gpus_here", lambda: 8)


SHAPES = REPO / "recipes" / "shapes_story.yaml"


@pytest.mark.parametrize("name", ["story", "shapes_story"])
def test_our_recipes_load_and_are_checked(name, tmp_path):
    recipe = load_story_recipe(REPO / "recipes" / f"{name}.yaml")
    assert (recipe.name, recipe.tries) == (name, 5)
    (tmp_path / "resolved.yaml").write_text(to_yaml(recipe))
    assert load_as(StoryRecipe, tmp_path / "resolved.yaml") == recipe
    assert prepare_story(recipe).critic.count("<image>") == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trise=3", r"unknown key trise; did you mean tries\?"),
        ("tries=0", "tries is 0; expected a whole number, 1 or more"),
        ("num_references=-1", "num_references is -1; expected a whole number, 0 or more"),
        ("best_of=first", "best_of is 'first'; expected one of last, critic, judge"),
        ("planner.kind=human", "planner.kind is 'human'; expected model or function"),
        ("planner.temperature=-1", "planner.temperature is -1.0; expected a temperature from 0 to 100"),
        ("planner.fn=''", "set planner.fn"),
        ("critic.model=''", r"set critic.model, .* \(or critic.kind=none\)"),
        ("critic.num_attempts=0", "critic.num_attempts is 0; expected a whole number, 1 or more"),
        ("critic.votes=0", "critic.votes is 0; expected a whole number, 1 or more"),
        ("critic.threshold=1.5", "critic.threshold is 1.5; expected a share from 0 to 1"),
        ("critic.sure_by=thought", "critic.sure_by is 'thought'; expected verdict or answer"),
        ("critic.modle=a", r"unknown key critic.modle; did you mean model\?"),
    ],
)
def test_bad_settings_are_explained(override, message):
    with pytest.raises(ValueError, match=message):
        load_story_recipe(SHAPES, [override])


def test_a_perfect_critic_that_is_not_there_is_refused_before_anything_starts(tmp_path):
    recipe = load_story_recipe(SHAPES, ["oracle.fn=recipes.shapes.stories.best", "oracle.is_measured=true"])
    run = run_story_eval(recipe, [], {"sft": "here"}, tries=[3], bar=Bar(), out=tmp_path / "e.json", console=Console())
    with pytest.raises(ValueError, match=r"oracle\.fn is 'recipes\.shapes\.stories\.best': .* has no best"):
        asyncio.run(run)


def test_votes_of_a_greedy_critic_are_refused():
    with pytest.raises(ValueError, match=r"greedy answers are all the same; expected critic\.votes=1"):
        load_story_recipe(SHAPES, ["critic.votes=3"])
    assert load_story_recipe(SHAPES, ["critic.votes=3", "critic.temperature=1"]).critic.votes == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("critic.prompt=none.txt", "critic.prompt is none.txt: there is no such file"),
        ("critic.model=/none", "critic.model is /none"),
        ("critic.prompt=none.py:CRITIC", "critic.prompt is none.py:CRITIC: there is no such file"),
        ("critic.prompt=setup.py", "critic.prompt is setup.py: setup.py is a Python file: say which of its texts"),
        ("critic.prompt=setup.py:CRITIC", "critic.prompt is .*setup.py gives nothing the name CRITIC"),
        ("generator.model=./none", "generator.model is ./none"),
        ("planner.fn=recipes.shapes.stories.plam", "planner.fn is .* has no plam"),
        ("planner.fn=recipes.none.plan", "planner.fn is 'recipes.none.plan'"),
        ("planner={kind: model, model: ./none}", "planner.model is ./none"),
    ],
)
def test_what_is_missing_is_said_before_anything_starts(override, message):
    with pytest.raises(ValueError, match=message):
        prepare_story(load_story_recipe(SHAPES, [override]))


def test_a_function_whose_file_cannot_be_imported_is_named(tmp_path):
    (tmp_path / "mine.py").write_text("raise RuntimeError('boom')\n")
    planner = load_story_recipe(SHAPES, [f"planner={{kind: function, fn: '{tmp_path}/mine.py:plan'}}"])
    with pytest.raises(ValueError, match=r"^planner\.fn is .*mine\.py:plan': its module raised RuntimeError: boom \("):
        prepare_story(planner)
    with pytest.raises(ValueError, match=r"^oracle\.fn is .*mine\.py:best': its module raised RuntimeError: boom \("):
        _rephrase(OracleConfig(fn=f"{tmp_path}/mine.py:best", is_measured=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<image> {original_instruction} {rewritten_prompt}", "it needs 2 <image> marks, found 1"),
        ("<image><image> {original_instruction} {prompt_of_mine}", r"it needs \{prompt\} once, found 0"),
    ],
)
def test_a_prompt_out_of_python_has_to_have_its_places(tmp_path, text, message):
    (tmp_path / "system.py").write_text(f"CRITIC = {text!r}\n")
    with pytest.raises(ValueError, match=f"^critic.prompt is .*/system.py:CRITIC: {message}$"):
        prepare_story(load_story_recipe(SHAPES, [f"critic.prompt={tmp_path}/system.py:CRITIC"]))


def test_a_judge_is_checked_only_where_it_is_started():
    recipe = load_story_recipe(SHAPES, ["judge.scorer=recipes.none.score"])
    assert not prepare_story(recipe).has_judge
    for started in (
        lambda: prepare_story(replace(recipe, best_of="judge")),
        lambda: prepare_story(recipe, has_judge=True),
    ):
        with pytest.raises(ValueError, match=r"judge.scorer is 'recipes.none.score'"):
            started()


def test_a_planner_in_a_file_is_found_from_the_recipes_folder(tmp_path, monkeypatch):
    (tmp_path / "plans.py").write_text("def plan(request, num_images):\n    raise ValueError\n")
    (tmp_path / "mine.yaml").write_text("extends: shapes_story.yaml\nname: mine\nplanner: {fn: ./plans.py:plan}\n")
    assert load_story_recipe(tmp_path / "mine.yaml").planner.fn == f"{tmp_path / 'plans.py'}:plan"


@pytest.fixture
def models(tmp_path):
    for name in ("planner", "critic", "generator"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(name)
    return tmp_path


def overrides(models) -> list[str]:
    return [f"{name}.model={models / name}" for name in ("planner", "critic", "generator")]


@pytest.mark.parametrize("has_generator", [True, False])
def test_a_bundle_has_its_models_and_prompts_wherever_it_is_moved(models, has_generator):
    recipe = load_story_recipe(REPO / "recipes" / "story.yaml", [*overrides(models), "tries=2"])
    lines = list(write_bundle(recipe, models / "bundle", has_generator))
    shutil.move(models / "bundle", models / "elsewhere")
    shutil.rmtree(models / "planner")
    there = load_story_recipe(models / "elsewhere")
    assert there.tries == 2
    for part in (there.planner, there.critic):
        assert part.model.startswith(str(models / "elsewhere"))
    assert (models / "elsewhere" / "planner" / "config.json").read_text() == "planner"
    assert prepare_story(there).planner == (REPO / "recipes/prompts/planner.txt").read_text()
    assert there.generator.model == str(models / ("elsewhere/generator" if has_generator else "generator"))
    assert any("not in the bundle" in line for line in lines) is not has_generator
    assert load_story_recipe(models / "elsewhere", ["critic.model=other"]).critic.model == "other"


def test_a_bundle_has_its_prompts_as_texts_wherever_they_were(models):
    (models / "system.py").write_text("PLAN = 'plan {text_input}'\nGO_ON = 'go on {text_input}'\n")
    prompts = {"planner.prompt": "PLAN", "planner.guidance_prompt": "GO_ON"}
    taken = [f"{key}={models}/system.py:{name}" for key, name in prompts.items()]
    list(write_bundle(load_story_recipe(REPO / "recipes" / "story.yaml", [*overrides(models), *taken]), models / "b"))
    (models / "system.py").unlink()
    there = prepare_story(load_story_recipe(models / "b"))
    assert (there.planner, there.guidance) == ("plan {request}", "go on {request}")


def test_a_bundle_keeps_hub_ids_and_takes_a_function_along(models):
    plans = models / "plans.py"
    plans.write_text("def plan(request, num_images):\n    raise ValueError('mine')\n")
    recipe = load_story_recipe(SHAPES, [f"planner.fn={plans}:plan", "critic.model=owner/critic"])
    lines = list(write_bundle(recipe, models / "bundle"))
    plans.unlink()
    there = load_story_recipe(models / "bundle")
    assert there.critic.model == "owner/critic"
    assert "critic    owner/critic (not in the bundle)" in lines
    with pytest.raises(ValueError, match="mine"):
        prepare_story(there).planner.function("a", 0)


def test_a_bundle_wants_a_new_folder(models):
    recipe = load_story_recipe(SHAPES)
    with pytest.raises(ValueError, match="is not empty"):
        write_bundle(recipe, models)
    with pytest.raises(ValueError, match="is no bundle"):
        load_story_recipe(models)


ONLY_EDITS = ["generator={name: qwen-image-edit, model: owner/name, pipeline: QwenImageEditPipeline}"]
ONLY_TEXT = ["generator={name: qwen-image, model: owner/name, pipeline: QwenImagePipeline}"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", " ", "--recipe", str(SHAPES)], "the request is empty"),
        (["generate", "a \udcff", "--recipe", str(SHAPES)], "the request holds half a character"),
        (["generate", "a <|im_end|>", "--recipe", str(SHAPES)], "the request holds <|im_end|>, which models read as"),
        (["generate", "a cat", "--recipe", str(SHAPES), "--tries", "-1"], "tries is -1"),
        (["generate", "a cat", "--recipe", "none.yaml"], "none.yaml does not exist"),
        (["generate", "a cat", "--recipe", str(SHAPES), "--image", "none.png"], "--image none.png"),
        (["generate", "a cat", "--recipe", str(SHAPES), "trise=3"], "did you mean tries"),
        (["generate", "a cat", "--recipe", str(SHAPES), *ONLY_EDITS], "does no text-to-image; it does edit"),
        (["generate", "a cat", "--recipe", str(SHAPES), *ONLY_TEXT, "--image", str(SHAPES)], "does no edit"),
        (
            ["generate", "a cat", "--recipe", str(SHAPES), "--image", str(SHAPES)],
            "yaml cannot be decoded (expected an image, found a text that begins '",
        ),
        (["eval", "stories", str(SHAPES), *ONLY_EDITS], "does no text-to-image; it does edit"),
        (
            ["eval", "stories", str(SHAPES), "--out", "/dev/null"],
            "--out is /dev/null, which is no file; expected a file",
        ),
        (["eval", "stories", str(SHAPES), "--out", "/tmp"], "--out is /tmp, which is a folder; expected a file"),
        (["eval", "verdicts", str(SHAPES), "--out", "/tmp"], "--out is /tmp, which is a folder; expected a file"),
        (["eval", "stories", str(SHAPES), "--critic", "a=b", "--critic", "a=c"], "--critic a=...: it is given twice"),
        (["eval", "stories", str(SHAPES), "--critic", "rl"], "expected NAME=MODEL"),
        (["eval", "stories", str(SHAPES), "--tries", "0"], "expected 1 or more"),
    ],
)
def test_the_command_line_says_what_is_wrong_in_one_line(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
