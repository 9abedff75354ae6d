"""A recipe for verl's own trainer: rows that verl's data set reads, and a loop that finds the recipe again."""

from dataclasses import replace
from pathlib import Path

import yaml
from pyarrow import parquet

from rewards.functions.import_path import load_object
from rl.cli.main import main
from rl.recipe.reader import load_recipe
from rl.services import tasks_of
from rl.verl_plugin import CriticLoop, Place

RECIPE = "recipes/shapes_grpo.yaml"


def test_every_task_is_a_row_that_the_plugin_finds_again(tmp_path, capsys):
    assert main(["data", "verl", RECIPE, f"run_dir={tmp_path}/run", "rollout.n=4", "--out", str(tmp_path / "v")]) == 0
    assert "train         1,024 tasks" in capsys.readouterr().out
    tasks = tasks_of(load_recipe(RECIPE))
    for split in ("train", "heldout"):
        rows = parquet.read_table(tmp_path / "v" / f"{split}.parquet").to_pylist()
        assert len(rows) == len(tasks[split])
        for row in rows[:: len(rows) // 5]:
            place = Place.of(row | {"uid": "u", "session_id": 0, "global_steps": 1})
            task = tasks[place.split][place.row]
            assert (place.split, place.task_id) == (split, task.id)
            [message] = row["prompt"]
            assert message["content"].count("<image>") == 2
            assert f"instruction: {task.instruction}\n" in message["content"]
            assert row["reward_model"]["ground_truth"] == str(task.is_success).lower()


def test_the_loop_is_told_a_recipe_that_holds_wherever_it_is_read(tmp_path, monkeypatch):
    recipe = Path(RECIPE).resolve()
    monkeypatch.chdir(tmp_path)
    assert main(["data", "verl", str(recipe), "run_dir=runs/v", "rollout.n=4", "--out", "v"]) == 0
    [loop] = yaml.safe_load(Path("v/agent_loop.yaml").read_text())
    assert load_object(loop.pop("_target_").replace("rl.verl_plugin.", "rl.verl_plugin:")) is CriticLoop
    assert loop.pop("name") == "interleave"
    assert list(loop) == ["recipe"]
    monkeypatch.chdir("/")
    given = load_recipe(recipe, ["rollout.n=4"])
    placed = replace(given, run_dir=f"{tmp_path}/runs/v", store=load_recipe(loop["recipe"]).store)
    assert load_recipe(loop["recipe"]) == placed
    assert Path(placed.store).is_absolute()
