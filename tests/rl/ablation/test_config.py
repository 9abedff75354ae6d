"""What an ablation's recipe may say, and what `--quick` makes of it."""

from dataclasses import asdict

import pytest

from rl.ablation.config import AblationRecipe, QuickConfig, VariantConfig
from rl.recipe.reader import load_as
from tests.support.ablations import SHAPES, small


def test_the_shapes_recipe_has_the_variants_of_the_paper():
    recipe = load_as(AblationRecipe, SHAPES)
    assert {variant.name: variant.seeds for variant in recipe.variants} == {
        "full": [0, 1, 2],
        "no_step": [0, 1, 2],
        "no_accuracy": [0, 1, 2],
        "gdpo": [0],
        "dr_grpo": [0],
    }
    assert (recipe.tries, recipe.stories.num) == ([1, 3, 5], 200)


def test_quick_changes_what_its_section_says_and_nothing_else():
    quick = QuickConfig(["num_steps=3"], [0], 1)
    recipe = small(quick=quick).made_quick()
    assert [(one.name, one.overrides, one.seeds) for one in recipe.variants] == [
        ("full", ["num_steps=3"], [0]),
        ("no_step", ["reward=no_step", "num_steps=3"], [0]),
    ]
    assert recipe.stories.num == 1
    same = ("name", "train", "story", "overrides", "tries")
    assert {key: asdict(recipe)[key] for key in same} == {key: asdict(small())[key] for key in same}
    assert small(quick=QuickConfig()).made_quick().stories.num == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["variants=[]"], "variants is empty; expected at least one"),
        (["variants=[{name: sft}]"], "variants.0.name is 'sft'; expected a name of letters, digits and _, other than"),
        (["variants=[{name: a/b}]"], "expected a name of letters, digits and _"),
        (["variants=[{name: a}, {name: a}]"], "variants is \\['a', 'a'\\]; expected at least one, each once"),
        (["variants.0.seeds=[1, 1]"], "variant full: seeds is \\[1, 1\\]"),
        (["variants.3.seeds=[7]"], "variant gdpo has seeds \\[7\\], none of them in \\[0, 1, 2\\] of full"),
        (["variants.1.sedes=[7]"], "unknown key variants.1.sedes; did you mean seeds"),
        (["variants.1.overrides=[seed=3]"], "variant no_step: seed=3: seed is set for each part by the ablation"),
        (["variants.1.overrides=[reward]"], "variant no_step: 'reward': expected key=value"),
        (["overrides=[run_dir=x]"], "overrides: run_dir=x: run_dir is set for each part"),
        (["quick.overrides=[~store]"], "quick: ~store: store is set for each part"),
        (["tries=[0]"], "tries.0 is 0; expected a whole number, 1 or more"),
        (["tries=[]"], "tries is \\[\\]; expected at least one"),
        (["stories.num=0"], "stories.num is 0"),
        (["stories.form=tell"], "stories.form is 'tell'; expected then or show"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(overrides, message):
    with pytest.raises(ValueError, match=message):
        load_as(AblationRecipe, SHAPES, overrides)


def test_quick_needs_a_seed_of_every_variant():
    variants = [VariantConfig("full", seeds=[0, 1]), VariantConfig("other", seeds=[1])]
    with pytest.raises(ValueError, match=r"quick\.seeds is \[0\], none of them in \[1\] of other"):
        small(variants=variants).made_quick()
