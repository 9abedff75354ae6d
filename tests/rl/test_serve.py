"""What `interleave serve` reads."""

import socket
from pathlib import Path

import pytest

from rl.cli.main import main
from rl.serve import load_serve_recipe, load_served
from rl.story.config import StoryRecipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def test_a_training_recipe_is_served_by_its_generator():
    recipe = load_serve_recipe(RECIPES / "shapes_grpo.yaml", ["service.port=0", "generator.num_replicas=2"])
    assert (recipe.generator.height, recipe.generator.num_replicas) == (64, 2)
    assert (recipe.service.host, recipe.service.port) == ("127.0.0.1", 0)
    assert recipe.name == "shapes_grpo"


def test_a_recipe_of_its_own_is_a_few_lines(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("generator: {name: qwen-image-edit, gpus_per_replica: 1}\nservice: {host: 0.0.0.0}\n")
    recipe = load_serve_recipe(path, [])
    assert (recipe.generator.name, recipe.service.host) == ("qwen-image-edit", "0.0.0.0")


def test_a_recipe_with_a_planner_is_served_whole():
    recipe = load_served(RECIPES / "shapes_story.yaml", ["service.port=0"])
    assert isinstance(recipe, StoryRecipe)
    assert recipe.service.port == 0


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("service.prot=1", "unknown key service.prot; did you mean port?"),
        ("generator.name=flux2-kline", "did you mean flux2-klein"),
        ("service.port=70000", "service.port is 70000"),
        ("service.host=0.0.0.0", "set the environment variable INTERLEAVE_API_KEY"),
        ("generator.name=omnigen2", "trust_remote_code=true"),
        ("generator.name=gpt-image", "makes 1024x1024"),
    ],
)
def test_what_cannot_be_served_is_told_at_once(override, why, capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("INTERLEAVE_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["serve", str(RECIPES / "shapes_grpo.yaml"), override]) == 2
    assert why in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", ["shapes_grpo", "shapes_story"])
def test_a_port_in_use_is_told_before_anything_starts(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rl.launch.ray_cluster", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ["serve", str(RECIPES / f"{recipe}.yaml"), f"store={tmp_path}", f"service.port={port}"]
        assert main(command) == 2
    told = f"interleave: cannot listen on 127.0.0.1:{port}: Address already in use; set service.port to a free one"
    assert told in capsys.readouterr().err
