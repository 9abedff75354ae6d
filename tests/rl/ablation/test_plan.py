"""The parts of an ablation, and their recipes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rl.ablation.config import AblationRecipe, StoriesConfig, VariantConfig
from rl.ablation.plan import Kind, make_plan
from rl.recipe.reader import load_as, load_recipe
from rl.recipe.resumable import forbidden_changes
from tests.support.ablations import SHAPES, VARIANTS, planned


def test_seeds_come_one_after_the_other_and_stories_right_after_their_critic(tmp_path):
    plan = planned(tmp_path)
    assert [str(part) for part in plan.parts] == [
        "stories sft",
        *("train full-seed0", "stories full-seed0", "train no_step-seed0", "stories no_step-seed0"),
        *("train full-seed1", "stories full-seed1"),
    ]
    assert plan.model("sft") == "recipes/shapes/weights/critic"
    assert plan.model("full-seed1") == f"{tmp_path}/runs/full-seed1/export"
    assert {critic: training.seed for critic, training in plan.trainings.items()} == {
        "full-seed0": 0,
        "no_step-seed0": 0,
        "full-seed1": 1,
    }
    assert {training.store for training in plan.trainings.values()} == {plan.story.store}
    assert len(plan.stories) == 2


def test_the_shapes_variants_differ_from_full_in_what_they_are_named_for(tmp_path):
    plan = make_plan(load_as(AblationRecipe, SHAPES), tmp_path)
    first, *others = (plan.trainings[variant.critic(0)] for variant in plan.recipe.variants)
    changed = {
        Path(other.run_dir).name: set(forbidden_changes(first, other, lambda key: key == "run_dir")) for other in others
    }
    loss = {"algorithm.loss.aggregation", "algorithm.loss.scale_factor"}
    assert changed == {
        "no_step-seed0": {"reward.terms"},
        "no_accuracy-seed0": {"reward.terms"},
        "gdpo-seed0": {"algorithm.advantage"},
        "dr_grpo-seed0": {"algorithm.normalise_by_std", *loss},
    }
    for name in ("gdpo", "dr_grpo"):  # as the reward sets of these names compute them
        named = load_recipe(plan.recipe.train, [f"reward={name}"])
        assert plan.trainings[f"{name}-seed0"].algorithm == named.algorithm


def test_a_part_is_done_when_its_record_is_there(tmp_path):
    part = planned(tmp_path).part(Kind.TRAIN, "full-seed0")
    assert (part.is_done, part.seconds) == (False, None)
    part.finish(12.5)
    assert (part.is_done, part.seconds) == (True, 12.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": [replace(VARIANTS[0], overrides=["rollout.m=3"])]}, "variant full: .*unknown key rollout.m"),
        ({"variants": [replace(VARIANTS[0], overrides=["reward=papre"])]}, "variant full: .*did you mean paper"),
        ({"variants": [*VARIANTS, VariantConfig("b", ["policy.model=x/y"])]}, "variants begin from several critics: "),
        ({"train": "none.yaml"}, "none.yaml does not exist"),
        ({"story": "none.yaml"}, "none.yaml does not exist"),
        ({"story_overrides": ["trise=3"]}, "did you mean tries"),
        ({"stories": StoriesConfig(file="none.jsonl")}, "none.jsonl cannot be read"),
    ],
)
def test_what_an_ablation_names_is_read_before_anything_starts(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        planned(tmp_path, **changes)


def test_an_ablation_needs_a_folder(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ValueError, match="is no folder"):
        planned(tmp_path / "mine.txt")


def test_stories_may_come_from_a_file(tmp_path):
    file = tmp_path / "stories.jsonl"
    file.write_text("".join(json.dumps({"id": name, "request": "r", "instructions": ["i"]}) + "\n" for name in "abc"))
    assert [story.id for story in planned(tmp_path, stories=StoriesConfig(str(file), num=2)).stories] == ["a", "b"]
    with pytest.raises(ValueError, match=r"has 3 stories, stories\.num is 4"):
        planned(tmp_path, stories=StoriesConfig(str(file), num=4))
