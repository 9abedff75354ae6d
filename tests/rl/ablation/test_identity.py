"""Whose folder it is: nothing that a figure depends on may change, all else may.

Slow: each test reads the recipes of whole ablations.
"""

from pathlib import Path

import pytest

from rl.ablation.config import QuickConfig, StoriesConfig, VariantConfig
from rl.ablation.identity import check_folder, claim
from rl.ablation.plan import Kind, make_plan
from rl.recipe.reader import to_yaml
from tests.support.ablations import VARIANTS, planned, small

pytestmark = pytest.mark.slow


def train(plan, critic):
    """Leave what a finished training leaves."""
    run_dir = Path(plan.trainings[critic].run_dir)
    run_dir.mkdir(parents=True)
    (run_dir / "recipe.yaml").write_text(to_yaml(plan.trainings[critic]))
    plan.part(Kind.TRAIN, critic).finish(1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tries": [1, 5]},
            r"a different tries \(was \[1, 3\], now \[1, 5\]\); put it back, or give another folder \(--out\)",
        ),
        ({"stories": StoriesConfig(num=3)}, r"a different stories.num \(was 2, now 3\)"),
        ({"stories": StoriesConfig(num=2, semantics=8.0)}, r"a different stories.semantics \(was 9.0, now 8.0\)"),
        ({"story_overrides": ["critic.temperature=1"]}, r"recipe of stories, critic.temperature \(was 0.0, now 1.0\)"),
        ({"overrides": ["reward=released"]}, r"training of full-seed0, reward.terms \("),
        ({"overrides": ["reward=paper", "num_steps=3"]}, r"training of full-seed0, num_steps \(was 50, now 3\)"),
    ],
)
def test_an_ablation_goes_on_in_its_own_folder_alone(changes, message, tmp_path):
    plan = planned(tmp_path)
    claim(plan)
    train(plan, "full-seed0")
    check_folder(planned(tmp_path))
    with pytest.raises(ValueError, match=message):
        check_folder(planned(tmp_path, **changes))


def test_what_decides_no_figure_may_change_and_variants_may_come_and_go(tmp_path):
    plan = planned(tmp_path)
    claim(plan)
    train(plan, "no_step-seed0")
    check_folder(planned(tmp_path, overrides=["reward=paper", "workers.num_workers=2"], story_overrides=["num_cpus=4"]))
    others = planned(tmp_path, variants=[VARIANTS[0], VariantConfig("gdpo", ["algorithm.advantage=gdpo"])])
    check_folder(others)
    claim(others)
    with pytest.raises(ValueError, match=r"training of no_step-seed0, reward\.terms"):  # it is still there
        check_folder(planned(tmp_path, variants=[VARIANTS[0], VariantConfig("no_step", ["reward=no_accuracy"])]))


def test_a_variant_that_has_learned_nothing_may_still_be_mended(tmp_path):
    claim(planned(tmp_path))
    check_folder(planned(tmp_path, overrides=["reward=released"]))


def test_quick_and_whole_ablations_do_not_mix(tmp_path):
    recipe = small(quick=QuickConfig(["num_steps=3"]))
    quick = make_plan(recipe.made_quick(), tmp_path)
    claim(quick)
    train(quick, "full-seed0")
    with pytest.raises(ValueError, match=r"num_steps \(was 3, now 50\)"):
        check_folder(make_plan(recipe, tmp_path))


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ValueError, match="holds something that is no ablation"):
        check_folder(planned(tmp_path))
