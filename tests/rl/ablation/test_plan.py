"""The parts of an ablation, their recipes, and whose folder it is."""

import json
from dataclasses import asdict, replace

import pytest

from rl.ablation.config import AblationRecipe, QuickConfig, StoriesConfig, VariantConfig
from rl.ablation.plan import Kind, check_folder, claim, make_plan
from rl.recipe.reader import load_as, load_recipe
from rl.recipe.resumable import differing_keys
from tests.support.ablations import SHAPES, VARIANTS, planned, small


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
    full = asdict(plan.trainings["full-seed0"])
    changed = {
        variant.name: set(differing_keys(full, asdict(plan.trainings[variant.critic(0)]))) - {"run_dir"}
        for variant in plan.recipe.variants
    }
    loss = {"algorithm.loss.aggregation", "algorithm.loss.scale_factor"}
    assert changed == {
        "full": set(),
        "no_step": {"reward.terms"},
        "no_accuracy": {"reward.terms"},
        "gdpo": {"algorithm.advantage"},
        "dr_grpo": {"algorithm.normalise_by_std", *loss},
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


def test_stories_may_come_from_a_file(tmp_path):
    file = tmp_path / "stories.jsonl"
    file.write_text("".join(json.dumps({"id": name, "request": "r", "instructions": ["i"]}) + "\n" for name in "abc"))
    assert [story.id for story in planned(tmp_path, stories=StoriesConfig(str(file), num=2)).stories] == ["a", "b"]
    with pytest.raises(ValueError, match=r"has 3 stories, stories\.num is 4"):
        planned(tmp_path, stories=StoriesConfig(str(file), num=4))


def test_an_ablation_goes_on_in_its_own_folder_alone(tmp_path):
    claim(planned(tmp_path))
    check_folder(planned(tmp_path))
    for changes, message in (
        ({"tries": [1, 5]}, r"another tries.1 \(was 3, now 5\); put it back, or give another folder \(--out\)"),
        ({"stories": StoriesConfig(num=3)}, r"another stories.num \(was 2, now 3\)"),
        ({"stories": StoriesConfig(num=2, semantics=8.0)}, r"another stories.semantics \(was 9.0, now 8.0\)"),
        ({"story_overrides": ["critic.temperature=0"]}, r"another story.critic.temperature \(was 1.0, now 0.0\)"),
        ({"overrides": ["reward=released"]}, r"another trainings.full-seed0.reward.terms"),
        ({"overrides": ["reward=paper", "num_steps=3"]}, r"num_steps \(was 50, now 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            check_folder(planned(tmp_path, **changes))


def test_what_decides_no_figure_may_change_and_variants_may_come_and_go(tmp_path):
    claim(planned(tmp_path))
    check_folder(planned(tmp_path, overrides=["reward=paper", "workers.num_workers=2"], story_overrides=["num_cpus=4"]))
    others = planned(tmp_path, variants=[VARIANTS[0], VariantConfig("gdpo", ["algorithm.advantage=gdpo"])])
    check_folder(others)
    claim(others)
    with pytest.raises(ValueError, match=r"trainings.no_step-seed0.reward.terms"):  # it is still known
        check_folder(planned(tmp_path, variants=[VARIANTS[0], VariantConfig("no_step", ["reward=no_accuracy"])]))


def test_quick_and_whole_ablations_do_not_mix(tmp_path):
    recipe = small(quick=QuickConfig(["num_steps=3"]))
    claim(make_plan(recipe.made_quick(), tmp_path))
    with pytest.raises(ValueError, match=r"another trainings.full-seed0.num_steps \(was 3, now 50\)"):
        check_folder(make_plan(recipe, tmp_path))


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ValueError, match="holds something that is no ablation"):
        check_folder(planned(tmp_path))
    with pytest.raises(ValueError, match="is no folder"):
        planned(tmp_path / "mine.txt")
