"""Which key wins where a recipe, its reward set and the command line say different things."""

import pytest

from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe, to_yaml

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
    write(folder, "base.yaml", "algorithm: {advantage: opo}\n")
    (folder / "child.yaml").write_text("extends: base.yaml\nreward: set.yaml\nalgorithm: {overlong: mask}\n")
    (folder / "grandchild.yaml").write_text("extends: child.yaml\nalgorithm: {loss: {clip_low: 0.12}}\n")
    recipe = load_recipe(folder / "grandchild.yaml")
    assert recipe.algorithm.advantage == "rloo", "the set over the extended recipe's opo"
    assert recipe.algorithm.overlong == "mask", "the file beside its set"
    assert recipe.algorithm.loss.clip_low == 0.12, "who extends it over both"
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "reward: gdpo\nalgorithm: {advantage: grpo}",
            r"mine\.yaml: algorithm\.advantage is grpo, but gdpo in the reward set gdpo .* leave algorithm",
        ),
        ("reward: dr_grpo\nalgorithm: {loss: {aggregation: token-mean}}", r"loss\.aggregation is token-mean, but seq-"),
        ("reward: set.yaml\nevidence: {aesthetic: {fn: x.y}}", r"evidence\.aesthetic\.fn is x\.y, but"),
    ],
)
def test_a_file_that_contradicts_the_set_it_names_is_refused(folder, text, message):
    mine = write(folder, "mine.yaml", text)
    with pytest.raises(ValueError, match=message):
        load_recipe(mine)


def test_what_a_file_repeats_or_a_set_computes_is_no_contradiction(folder):
    text = "reward: dr_grpo\nalgorithm: {normalise_by_std: false, loss: {scale_factor: 700}}"
    assert load_recipe(write(folder, "mine.yaml", text)).algorithm.loss.scale_factor == 700


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gdpo", "dr_grpo", "checklist", "set.yaml"])
def test_in_a_runs_resolved_recipe_another_set_takes_the_place_of_the_first_too(folder, name):
    """Slow: recipes are read many times."""
    base = write(folder, "base.yaml", "algorithm: {loss: {clip_low: 0.15, entropy_coef: 0.02}}\n")
    chosen = f"reward={folder}/set.yaml" if name == "set.yaml" else f"reward={name}"
    resolved = folder / "resolved.yaml"
    resolved.write_text(to_yaml(load_recipe(base, [chosen])))
    for other in ("paper", "gdpo" if name == "dr_grpo" else "dr_grpo"):
        assert load_recipe(resolved, [f"reward={other}"]) == load_recipe(base, [f"reward={other}"])


def test_what_was_overridden_by_hand_stays_when_another_set_takes_the_place_of_the_first(folder):
    resolved, chosen = folder / "resolved.yaml", f"reward={folder}/set.yaml"
    resolved.write_text(to_yaml(load_recipe(FULL, [chosen, "algorithm.loss.clip_low=0.3", "algorithm.advantage=opo"])))
    kept = load_recipe(resolved, ["reward=paper"]).algorithm
    assert (kept.loss.clip_low, kept.advantage) == (0.3, "opo")


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
        ("terms: [{fn: a.b, weigth: 1}]", r"set\.yaml: unknown key reward\.terms\.0\.weigth; did you mean weight\?"),
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
        ("extends: nowhere.yaml", "nowhere.yaml does not exist; the built-in ones are in"),
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
        ("reward=./nowhere.yaml", r"reward set \./nowhere\.yaml does not exist"),
        ("reward=./papre.yaml", r"reward set \./papre\.yaml does not exist; .* are in \S* .*; did you mean paper\?$"),
        (
            "reward=./nope.yaml",
            r"set \./nope\.yaml does not exist; the built-in ones are in \S* \(looked for /\S*/nope\.yaml\)$",
        ),
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


def test_our_recipes_go_by_name_from_any_folder_behind_what_is_there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert load_recipe("shapes_grpo") == load_recipe("recipes/shapes_grpo.yaml")
    with pytest.raises(ValueError, match=r"recipe nothing does not exist; the built-in ones are in"):
        load_recipe("nothing")
    (folder / "recipes").mkdir()
    write(folder, "recipes/shapes_grpo.yaml", "name: mine\n")
    assert load_recipe("recipes/shapes_grpo.yaml").name == "mine"


@pytest.mark.parametrize("parent", ["shapes_grpo.yaml", "shapes_grpo", "recipes/shapes_grpo.yaml"])
def test_a_recipe_extends_ours_by_every_name_that_the_command_line_takes(folder, parent):
    (folder / "mine.yaml").write_text(f"extends: {parent}\nname: mine\n")
    assert load_recipe(folder / "mine.yaml").policy == load_recipe("shapes_grpo").policy


@pytest.mark.parametrize(
    ("overrides", "end"),
    [(["reward=checklist"], "; reward=checklist sets judge.rubric"), (["judge.rubric=checklist"], "each time")],
)
def test_a_set_that_does_not_suit_the_recipe_is_named(overrides, end):
    with pytest.raises(ValueError, match=r"judge.rubric=checklist and .*") as error:
        load_recipe("shapes_grpo", overrides)
    assert str(error.value).endswith(end)


def test_a_value_out_of_range_is_told_with_who_says_it(folder):
    write(folder, "base.yaml", "name: base\n")
    (folder / "low.yaml").write_text("extends: base.yaml\nrollout: {n: 1}\n")
    (folder / "mine.yaml").write_text("extends: low.yaml\nname: mine\nevaluation: {seed: '${nothing}'}\n")
    (folder / "high.yaml").write_text("extends: base.yaml\nmax_staleness: -1\nrollout: {max_tokens: 64}\n")

    def said(file, *overrides):
        with pytest.raises(ValueError, match=": ") as error:
            load_recipe(folder / file, list(overrides))
        return str(error.value)

    assert said("low.yaml").startswith(f"{folder}/low.yaml: rollout.n is 1; ")
    assert said("mine.yaml", "evaluation.seed=1").startswith(f"{folder}/low.yaml: rollout.n is 1; ")
    assert said("low.yaml", "rollout.n=0").startswith("command line: rollout.n is 0; ")
    assert said("low.yaml", "rollout={n: 0}").startswith("command line: rollout.n is 0; ")
    assert said("low.yaml", "rollout.n=2", "reward.terms.0.weight=inf").startswith(
        "command line: reward.terms.0.weight is"
    )
    assert said("high.yaml").startswith(f"{folder}/high.yaml: max_staleness is -1; ")
    assert said("mine.yaml", "rollout.n=2").startswith(f"{folder}/mine.yaml: evaluation.seed is '${{nothing}}', ")
    assert said("base.yaml", "~reward").startswith(f"{folder}/base.yaml: the recipe has no reward")
    narrow = said("high.yaml", "max_staleness=0", "samplers.max_model_len=32")
    assert narrow.startswith(
        f"{folder}/high.yaml: rollout.max_tokens is 64; expected less than samplers.max_model_len=32"
    )
    assert narrow.endswith("; the command line sets samplers.max_model_len")


def test_a_set_that_a_recipe_names_is_looked_for_beside_it_and_here(folder, monkeypatch):
    (folder / "beside").mkdir()
    (folder / "beside/mine.yaml").write_text(f"extends: {FULL}\nreward: ./nope.yaml\n")
    monkeypatch.chdir(folder)
    where = f"{folder}/beside/nope.yaml and {folder}/nope.yaml"
    with pytest.raises(ValueError, match=rf"set \./nope\.yaml does not exist; .* \(looked for {where}\)$"):
        load_recipe("beside/mine.yaml")
    with pytest.raises(ValueError, match=rf"recipe none\.yaml does not exist; .* \(looked for {folder}/none\.yaml\)$"):
        load_recipe("none.yaml")
