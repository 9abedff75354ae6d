"""The chain that builds the shapes world, its long stages replaced. Slow because it loads torch and diffusers."""

import subprocess
from pathlib import Path

import pytest

from rl.data_build.config import BuildRecipe
from rl.recipe.config import Recipe
from rl.recipe.reader import load_as
from rl.recipe.sft_config import SftRecipe

STAGES = {
    "autoencoder": "build_autoencoder",
    "weights/generator": "build_generator",
    "requests": "build_requests",
    "data": "build_data",
    "tasks": "build_tasks",
    "attempts": "build_attempts",
    "critic_sft": "build_critic_records",
    "weights/critic": "build_critic",
    "planner_untrained": "build_untrained_planner",
    "weights/planner": "build_planner",
    "weights/critic_rl": "build_trained_critic",
    "weights/critic_dagger": "build_dagger_critic",
}
KINDS = {"train": Recipe, "sft": SftRecipe, "data": BuildRecipe}


@pytest.fixture
def chain():
    from recipes.shapes import build

    return build


@pytest.mark.slow
def test_what_exists_is_kept_and_what_stopped_is_made_again(chain, tmp_path, monkeypatch):
    made = []

    def stage_of(name):
        def stage(world, folder: Path):
            made.append(name)
            if name == "tasks" and made.count("tasks") == 1:
                raise KeyboardInterrupt
            (folder / "it").write_text(name)

        return stage

    for name, function in STAGES.items():
        monkeypatch.setattr(chain, function, stage_of(name))
    with pytest.raises(KeyboardInterrupt):
        chain.build(tmp_path, has_rl=True)
    chain.build(tmp_path)
    chain.build(tmp_path, has_rl=True)
    first, rest = list(STAGES)[:5], list(STAGES)[4:]
    assert made == first + rest
    assert all((tmp_path / name / "it").read_text() == name for name in STAGES)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_each_command_of_the_chain_is_a_recipe_of_what_was_built(chain, tmp_path, monkeypatch, scale):
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda arguments, check: commands.append(arguments[3:]))
    monkeypatch.setattr(chain.critic, "load", lambda folder: (folder,))
    monkeypatch.setattr(chain.critic, "save", lambda exported, folder: None)
    world = chain.Building(tmp_path, seed=3, scale=scale)
    for name in ("data", "weights/critic", "weights/planner", "weights/critic_rl"):
        getattr(chain, STAGES[name])(world, tmp_path / f"{name}.unfinished")
    recipes = []
    for command in commands:
        at = 2 if command[0] == "data" else 1
        recipes.append(load_as(KINDS[command[0]], command[at], command[at + 1 :]))
    data, critic, planner, trained = recipes
    assert [recipe.seed for recipe in recipes] == [3] * 4
    assert data.generator.model == trained.generator.model == str(tmp_path / "weights/generator")
    assert trained.policy.model == str(tmp_path / "weights/critic")
    assert (critic.num_steps, planner.num_steps) == ((620, 620) if scale == 1 else (6, 6))
    assert trained.num_steps == (50 if scale == 1 else 2)


@pytest.mark.slow
def test_each_round_of_dagger_learns_from_the_stories_of_the_last_ones_critic(chain, tmp_path, monkeypatch):
    """Slow: importing the chain loads torch and diffusers."""
    commands, saved = [], []
    monkeypatch.setattr(subprocess, "run", lambda arguments, check: commands.append(arguments[3:]))
    monkeypatch.setattr(chain.critic, "load", lambda folder: (folder,))
    monkeypatch.setattr(chain.critic, "save", lambda exported, folder: saved.append(exported))
    chain.build_dagger_critic(chain.Building(tmp_path, seed=3, scale=0.01), tmp_path / "critic_dagger.unfinished")
    told, taught = commands[::2], commands[1::2]
    builds = [load_as(BuildRecipe, command[2], command[3:]) for command in told]
    lessons = [load_as(SftRecipe, command[1], command[2:]) for command in taught]
    learners = [tmp_path / "weights/critic_rl", *(tmp_path / f"critic_dagger_{number}_run/export" for number in (0, 1))]
    assert (
        [build.critic.model for build in builds]
        == [lesson.policy.model for lesson in lessons]
        == list(map(str, learners))
    )
    assert [lesson.data.train for lesson in lessons] == [f"{build.run_dir}/critic_sft/train.jsonl" for build in builds]
    assert [len(Path(build.requests.file).read_text().splitlines()) for build in builds] == [3, 5, 5]
    assert saved == [tmp_path / "critic_dagger_2_run/export"]
