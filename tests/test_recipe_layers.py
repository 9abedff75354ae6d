"""Which key wins where a recipe, its reward set and the command line say different things."""

import pytest

from rl.config import REPO
from rl.recipe_file import load_recipe, to_yaml

FULL = REPO / "recipes" / "critic_grpo.yaml"

SET = """
terms:
  - {fn: "./mine.py:brevity", weight: 0.5}
algorithm: {advantage: rloo, loss: {clip_low: 0.11, entropy_coef: 0.01}}
rollout: {baseline: judge}
evidence: {aesthetic: {fn: "./scores.py:aesthetic"}}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set.yaml").write_text(SET)
    (tmp_path / "mine.py").write_text("def brevity(evidence): return 1.0\n")
    (tmp_path / "scores.py").write_text("def aesthetic(before, after, instruction): return 1.0\n")
    return tmp_path


def write(folder, name, text):
    (folder / name).write_text(f"extends: {FULL}\n{text}")
    return folder / name


def test_a_set_lies_over_what_is_extended_and_under_the_file_that_names_it(folder):
    child = write(folder, "child.yaml", "reward: set.yaml\nalgorithm: {loss: {clip_low: 0.12}}\n")
    recipe = load_recipe(child)
    assert recipe.algorithm.advantage == "rloo", "the set over the extended recipe's grpo"
    assert recipe.algorithm.loss.clip_low == 0.12, "the file over its set"
    assert (recipe.algorithm.loss.entropy_coef, recipe.algorithm.loss.clip_high) == (0.01, 0.3), "the rest is kept"
    assert recipe.rollout.baseline == "judge"


def test_the_command_line_lies_over_all_and_its_set_under_its_other_keys(folder):
    child = write(folder, "child.yaml", "algorithm: {advantage: opo, normalise_by_std: true}\n")
    overrides = ["algorithm.loss.clip_low=0.13", f"reward={folder}/set.yaml", "reward.terms.0.weight=0.7"]
    recipe = load_recipe(child, overrides)
    assert recipe.algorithm.advantage == "rloo", "a set of the command line is over every file"
    assert recipe.algorithm.loss.clip_low == 0.13
    assert [term.weight for term in recipe.reward.terms] == [0.7]


def test_another_set_takes_the_place_of_the_first_with_all_that_it_had_set(folder):
    child = write(folder, "child.yaml", "reward: set.yaml\n")
    assert load_recipe(child, ["reward=released"]) == load_recipe(FULL)
    (folder / "grandchild.yaml").write_text("extends: child.yaml\nreward: paper\n")
    assert load_recipe(folder / "grandchild.yaml") == load_recipe(FULL, ["reward=paper"])


def test_files_of_functions_are_found_from_anywhere(folder, monkeypatch):
    child = write(folder, "child.yaml", "reward: set.yaml\n")
    monkeypatch.chdir("/")
    recipe = load_recipe(child)
    assert recipe.reward.terms[0].fn == f"{folder}/mine.py:brevity"
    assert recipe.evidence["aesthetic"].fn == f"{folder}/scores.py:aesthetic"
    monkeypatch.chdir(folder)
    by_hand = load_recipe(FULL, ["reward=[{fn: './mine.py:brevity'}]", "evidence.it.fn=./scores.py:aesthetic"])
    assert (by_hand.reward.terms[0].fn, by_hand.evidence["it"].fn) == (
        f"{folder}/mine.py:brevity",
        f"{folder}/scores.py:aesthetic",
    )


def test_the_resolved_recipe_loads_again_with_its_evidence(folder):
    overrides = [f"reward={folder}/set.yaml", "evidence.second.judge={kind: openai, model: x}"]
    recipe = load_recipe(FULL, overrides)
    (folder / "resolved.yaml").write_text(to_yaml(recipe))
    assert load_recipe(folder / "resolved.yaml") == recipe
    assert recipe.evidence["second"].judge.model == "x"
    other = load_recipe(folder / "resolved.yaml", ["reward=dr_grpo"])
    assert (other.algorithm.advantage, other.algorithm.normalise_by_std) == ("grpo", False)
    assert load_recipe(folder / "resolved.yaml", ["reward=paper"]).reward == load_recipe(FULL, ["reward=paper"]).reward


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("terms: []", "set.yaml has no terms"),
        ("terms: [{fn: a.b, weigth: 1}]", r"set\.yaml: unknown key weigth; did you mean weight\?"),
        ("algoritm: {advantage: rloo}", r"a reward set may hold terms, .*, not algoritm; did you mean algorithm\?"),
        ("policy: {lr: 1}", "a reward set may hold terms"),
        (
            "extends: released.yaml\nalgorithm: {advantge: x}",
            r"set\.yaml: unknown key algorithm\.advantge; did you mean advantage\?",
        ),
        (
            "extends: released.yaml\nevidence: {it: {fnn: x}}",
            r"set\.yaml: unknown key evidence\.it\.fnn; did you mean fn\?",
        ),
        (
            "extends: released.yaml\nevidence: {it: {judge: {kid: x}}}",
            r"set\.yaml: unknown key evidence\.it\.judge\.kid; did you mean kind\?",
        ),
        ("- terms", "expected a mapping of settings"),
        ("terms: [", "is not YAML"),
        ("extends: set.yaml", "set.yaml extends itself"),
        ("extends: nowhere.yaml", "nowhere.yaml does not exist; ours are in"),
    ],
)
def test_what_is_wrong_with_a_set_is_said_with_its_file(folder, text, message):
    (folder / "set.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_recipe(FULL, [f"reward={folder}/set.yaml"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reward=realeased", r"reward set 'realeased' is unknown; known are .*; did you mean released\?"),
        ("reward=./nowhere.yaml", r"reward set nowhere\.yaml does not exist"),
        ("algorithm.overlong=cut", "algorithm.overlong is 'cut'; expected keep or mask"),
        ("rollout.baseline=jugde", "expected one of record, judge, side_by_side"),
    ],
)
def test_a_choice_that_there_is_not_is_explained(override, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(FULL, [override])


def test_refills_need_the_filter():
    with pytest.raises(ValueError, match="refill_zero_variance replaces the groups"):
        load_recipe(FULL, ["rollout.refill_zero_variance=true", "algorithm.filter_zero_variance=false"])


def test_recipes_that_extend_each_other_are_refused(folder):
    (folder / "one.yaml").write_text("extends: two.yaml\n")
    (folder / "two.yaml").write_text("extends: one.yaml\n")
    with pytest.raises(ValueError, match=r"one\.yaml extends itself"):
        load_recipe(folder / "one.yaml")
