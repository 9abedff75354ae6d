"""A real build of the shapes world. Slow because it makes images by the real pipeline.

That a killed build ends as one that is left alone is shown by `benchmarks/build_kills.py`, and on fakes at every row.
"""

import asyncio
from pathlib import Path

import pytest

from data.records.sft import Kind
from data.table.record_table import open_sft, open_tasks
from recipes.shapes.judge import is_success
from recipes.shapes.requests import write_requests
from recipes.shapes.world import parse
from rl.data_build.build import prepare_build, run_build
from rl.data_build.config import BuildRecipe
from rl.recipe.reader import load_as

RECIPE = Path(__file__).resolve().parents[3] / "recipes/build_shapes.yaml"

pytestmark = pytest.mark.slow


def test_the_shapes_world_builds_tasks_lessons_and_plans(tmp_path):
    given = {
        "requests.file": write_requests(tmp_path / "requests", 5, 10),
        "run_dir": tmp_path / "data",
        "store": tmp_path / "store",
        "split.rl_share": 0,
    }
    build = prepare_build(load_as(BuildRecipe, RECIPE, [f"{key}={value}" for key, value in given.items()]))
    cards = {card.set: card for card in asyncio.run(run_build(build, lambda what, share, num: None))}
    assert cards["critic_rl"].stages["plans read"] == 10
    tasks = list(open_tasks(build.out / "critic_rl/train.jsonl"))
    assert tasks
    for task in tasks:
        assert task.is_success == is_success(task.scores)
        assert parse(task.instruction) == parse(task.prompt)
    assert len(open_sft(build.out / "planner_sft/train.jsonl", Kind.PLANNER_SFT)) >= 7
    assert len(open_sft(build.out / "critic_sft/train.jsonl", Kind.CRITIC_SFT)) >= 5
