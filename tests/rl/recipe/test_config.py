"""Recipes: what extends what, what is refused and how."""

import pytest

from rl.data_build.config import BuildRecipe
from rl.recipe.config import REPO, Recipe
from rl.recipe.reader import differences, load_as, load_recipe, to_yaml
from rl.recipe.sft_config import SftRecipe
from rl.story.config import StoryRecipe

FULL = REPO / "recipes" / "critic_grpo.yaml"


def test_every_recipe_of_ours_loads():
    kinds: dict[str, type] = {"grpo": Recipe, "sft": SftRecipe, "story": StoryRecipe, "build": BuildRecipe}
    for path in (REPO / "recipes").glob("*.yaml"):
        [kind] = [kinds[word] for word in path.stem.split("_") if word in kinds]
        assert isinstance(load_as(kind, path), kind)


def test_a_recipe_may_train_adapters():
    lora = load_recipe(FULL.with_name("critic_grpo_lora.yaml")).policy.lora
    assert (lora.rank, lora.scale, lora.targets) == (32, 1.0, ["all-linear"])
    assert load_recipe(FULL).policy.lora.rank == 0


def test_overrides_and_reward_sets():
    recipe = load_recipe(FULL, ["rollout.n=4", "reward=paper", "algorithm.loss.kl_coef=0.001"])
    assert recipe.rollout.n == 4
    assert recipe.algorithm.loss.kl_coef == 0.001
    assert [term.key for term in recipe.reward.terms] == ["format", "accuracy", "step"]


def test_a_recipe_extends_another_and_the_resolved_one_loads_again(tmp_path):
    (tmp_path / "child.yaml").write_text(f"extends: {FULL}\nname: child\nrollout: {{n: 6}}\n")
    recipe = load_recipe(tmp_path / "child.yaml")
    assert (recipe.rollout.n, recipe.rollout.groups_per_step, recipe.run_dir) == (6, 16, "runs/child")
    (tmp_path / "resolved.yaml").write_text(to_yaml(recipe))
    assert load_recipe(tmp_path / "resolved.yaml") == recipe


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rollout.nn=3", r"unknown key rollout.nn; did you mean n\?"),
        ("polic.lr=1", r"unknown key polic; did you mean policy\?"),
        ("rollout.n=many", "rollout.n is 'many'; expected a whole number$"),
        ("rollout.n=1", "needs at least 2"),
        ("rollout.regenerate=never", "expected one of by_label, by_verdict, always"),
        ("reward=unknown", "known are checklist, dr_grpo, gdpo, "),
        ("evaluation.fixed_quality=11", r"expected a judge's score in \(0, 10\]"),
        ("max_staleness=-1", "max_staleness is -1"),
        ("algorithm.loss.rollout_correction=null", "set algorithm.loss.rollout_correction"),
        ("rollout.first_complete=17", "expected at most rollout.groups_per_step=16"),
        ("rollout.max_failure_share=2", "rollout.max_failure_share is 2"),
        ("reward.terms.0.weigth=1", r"did you mean weight\?"),
        ("reward.terms.0.weight=heavy", "'heavy'"),
        ("reward.terms=[]", "the recipe has no reward"),
        ("reward=[{fn: rewards.format.is_parsed}]", "terms beside the format weigh nothing"),
        ("policy.lora.rank=-1", "policy.lora.rank is -1; expected a whole number, 0 or more"),
        ("policy.lora.alpha=0", "policy.lora.alpha is 0; expected a whole number, 1 or more"),
        ("policy.lora.targets=[]", r"expected \[all-linear\] or names"),
        ("policy.lora.targets=[all-linear, q_proj]", r"expected \[all-linear\] or names"),
        ("policy.lora.targets=[q_proj, lm_head]", "names lm_head: head and embedding may be one tensor"),
        ("policy.lora.targets=all-linear", "policy.lora.targets"),
        ("policy.lora.ranks=4", r"unknown key policy.lora.ranks; did you mean rank\?"),
        ("rollout", "expected key=value"),
        ("seed=[a", r"override 'seed=\[a': the value is not YAML: line 1, column 3: expected ',' or '\]'"),
        ("seed=@x", r"override 'seed=@x': the value is not YAML: line 1, column 1: found character '@'"),
        ("seed=*x", r"override 'seed=\*x': the value is not YAML: line 1, column 1: found undefined alias 'x'"),
        ("seed=\udcff", r"override 'seed=\\udcff': the value is not YAML"),
        ("name=\udcff", r"name is '\\udcff'; expected text without control characters or broken Unicode"),
        (r'evidence={"a\ud800": {}}', r"evidence has a key 'a\\ud800'; expected text without broken Unicode"),
        (
            r'generator.call={a: ["\ud800"]}',
            r"generator\.call\.a\.0 is '\\ud800'; expected text without broken Unicode",
        ),
        ("seed=" + "[" * 1000, r"override 'seed=\[+\.\.\.: the value is not YAML"),
    ],
)
def test_bad_input_is_explained(override, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(FULL, [override])


def test_a_sampler_on_cpu_reads_every_prompt_at_once():
    with pytest.raises(ValueError, match=r"at least samplers\.max_model_len=8192"):
        load_recipe(FULL, ["samplers.gpus_per_sampler=0", "samplers.max_num_batched_tokens=4096"])


@pytest.mark.parametrize("setting", ["async_scheduling=true", "enforce_eager=false", "transport=cuda_ipc"])
def test_what_only_gpus_do_is_refused_on_cpus(setting):
    with pytest.raises(ValueError, match=rf"samplers\.{setting} needs a GPU, but samplers\.gpus_per_sampler is 0"):
        load_recipe(FULL, ["samplers.gpus_per_sampler=0", f"samplers.{setting}"])


def test_gpus_schedule_asynchronously_and_have_graphs_unless_told_otherwise():
    on_gpu = load_recipe(FULL, []).samplers
    assert (on_gpu.has_async_scheduling, on_gpu.is_eager) == (True, False)
    on_cpu = load_recipe(FULL, ["samplers.gpus_per_sampler=0"]).samplers
    assert (on_cpu.has_async_scheduling, on_cpu.is_eager) == (False, True)
    plain = load_recipe(FULL, ["samplers.async_scheduling=false", "samplers.enforce_eager=true"]).samplers
    assert (plain.has_async_scheduling, plain.is_eager) == (False, True)


def test_an_override_may_go_into_a_list_and_a_reward_may_be_one():
    assert load_recipe(FULL, ["reward.terms.1.weight=0.2"]).reward.terms[1].weight == 0.2
    recipe = load_recipe(FULL, ["reward=[{fn: rewards.stepwise.mean_gain, weight: 2}]"])
    assert [(term.key, term.weight) for term in recipe.reward.terms] == [("mean_gain", 2.0)]


def test_what_differs_between_recipes_is_named():
    assert differences(load_recipe(FULL), load_recipe(FULL, ["rollout.n=4", "seed=3"])) == {"rollout", "seed"}


def test_a_recipe_of_the_users_extends_one_of_ours_by_name(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: critic_grpo.yaml\nname: mine\n")
    assert load_recipe(tmp_path / "mine.yaml").rollout.n == 8
    (tmp_path / "loop.yaml").write_text("extends: loop.yaml\n")
    with pytest.raises(ValueError, match="extends itself"):
        load_recipe(tmp_path / "loop.yaml")


def test_a_recipe_that_is_not_yaml_is_explained(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ValueError, match="is not YAML"):
        load_recipe(tmp_path / "bad.yaml")


def test_a_missing_recipe_is_explained(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        load_recipe(tmp_path / "none.yaml")


def test_a_recipe_that_is_no_mapping_is_explained(tmp_path):
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ValueError, match="expected a mapping"):
        load_recipe(tmp_path / "list.yaml")


def test_what_takes_turns_is_named_and_what_cannot_is_refused():
    assert load_recipe(FULL).colocated == ()
    with pytest.raises(ValueError, match=r"placement=colocate: samplers\.num_samplers=5, but"):
        load_recipe(FULL, ["placement=colocate", "policy.num_ranks=4", "samplers.num_samplers=5"])
    with pytest.raises(ValueError, match="placement is 'shared'; expected separate or colocate"):
        load_recipe(FULL, ["placement=shared"])
    with pytest.raises(ValueError, match="two ranks cannot share a GPU"):
        load_recipe(FULL, ["policy.gpus_per_rank=0.5", "policy.num_ranks=2"])
    assert load_recipe(FULL, ["placement=colocate", "samplers.num_samplers=2"]).colocated == ("samplers",)
