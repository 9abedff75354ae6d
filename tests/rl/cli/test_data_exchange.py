"""Where `interleave data export` looks for the images of a folder."""

from pathlib import Path

import pytest

from actors.store.store import Store
from data.build.trajectory_log import TrajectoryLog
from rl.cli.main import main
from rl.data_build.config import BuildRecipe
from rl.recipe.reader import load_as, to_yaml
from rollout.types import Attempt, Critique, Plan, PlanStep, Request, Trajectory
from tests.support.public_records import save_picture

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture
def build(monkeypatch, tmp_path):
    """Return the folder of a build of one story, whose images are in a store elsewhere."""
    monkeypatch.chdir(tmp_path)
    store, folder = Store("elsewhere"), Path("built")
    save_picture(Path("a.png"), 1)
    image = store.put_image(store.get_image(str(Path("a.png").absolute())))
    plan = Plan((PlanStep(1, "Box", "a box", "draw a box"),))
    attempt = Attempt(1, 1, "a box", "draw a box", 3, image=image, critique=Critique(True, "draw a box"))
    log = TrajectoryLog(folder / "trajectories")
    log.write(Trajectory(Request("a box", id="1"), "", plan, (attempt,), {1: 0}))
    log.close()
    return folder


def test_the_store_is_that_of_the_builds_recipe_or_the_one_that_is_named(build, capsys):
    export = ["data", "export", str(build), "--form", "execution_record", "--out"]
    assert main([*export, "a"]) == 2
    assert "built does not say where its images are; add --store" in capsys.readouterr().err
    assert main([*export, "b", "--store", "elsewhere"]) == 0
    recipe = load_as(BuildRecipe, REPO / "recipes/build_shapes.yaml", ["store=elsewhere"])
    (build / "recipe.yaml").write_text(to_yaml(recipe))
    assert main([*export, "c"]) == 0
    assert Path("c/1/step1_3.png").read_bytes() == Path("b/1/step1_3.png").read_bytes()
    assert main([*export, "d", "--store", "nowhere"]) == 2
    assert "an image of request '1' is not in the store" in capsys.readouterr().err
