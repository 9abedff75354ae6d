"""The command that tells what a recipe may set, and the page that it writes."""

import pytest

from rl.cli.keys import markdown
from rl.cli.main import main
from rl.recipe.config import REPO


def test_the_page_is_that_of_the_code():
    """`interleave keys --markdown > docs/keys.md` writes it anew."""
    assert (REPO / "docs" / "keys.md").read_text(encoding="utf-8").splitlines() == list(markdown())


def test_keys_are_found_by_parts_of_their_names(capsys):
    assert main(["keys", "policy", "lr_sched"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "policy.lr_schedule  [constant]",
        "    constant or cosine. constant, or cosine: down to 0 at the recipe's last step.",
    ]


@pytest.mark.parametrize(("kind", "key"), [("rl", "rollout.n"), ("sft", "batch_size"), ("story", "tries")])
def test_each_kind_of_recipe_has_keys_of_its_own(capsys, kind, key):
    assert main(["keys", key, "--of", kind]) == 0
    assert capsys.readouterr().out.startswith(key)


@pytest.mark.parametrize(
    ("kind", "recipe"), [("rl", "a GRPO"), ("sft", "an SFT"), ("story", "a story"), ("data", "a data-build")]
)
def test_a_word_that_no_key_has_is_told_with_the_kind_of_recipe(capsys, kind, recipe):
    assert main(["keys", "zyx", "--of", kind]) == 2
    assert capsys.readouterr().err == f"interleave: no key of {recipe} recipe contains 'zyx'\n"


def test_an_unknown_key_is_one_line_with_the_nearest(capsys):
    assert main(["keys", "rolout"]) == 2
    assert "did you mean rollout?" in capsys.readouterr().err
