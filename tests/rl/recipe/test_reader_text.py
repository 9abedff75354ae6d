"""Text as it was written, keys that are dropped, home folders, and what a recipe file can be wrong with."""

import os

import pytest
import yaml

from rl.cli import main as cli
from rl.data_build.config import BuildRecipe
from rl.recipe.config import REPO
from rl.recipe.reader import load_as, load_recipe, to_yaml
from rl.recipe.sft_config import SftRecipe
from rl.run_dir.resume import check_run_dir
from rl.serve import load_served
from rl.story.config import load_story_recipe
from tests.support.interrupted_run import learn_until

FULL = REPO / "recipes" / "critic_grpo.yaml"
ODD = ["2024_11", "1e3", "on", "null", "0x10", "2024-11-05", "~x", "010", "1:30", ".nan", "true", "[a]", "{a: 1}", "-"]
ODD += [
    "a=b",
    "a:b",
    "a: b",
    "#1",
    "a #b",
    "$HOME",
    "a$b",
    "a,b",
    "it's",
    '"',
    "'a' and 'b'",
    "*x",
    "@x",
    "!x",
    "%",
    "|",
]


@pytest.mark.parametrize("text", ODD)
def test_a_text_is_what_was_typed_and_is_read_again_as_it_was_written(text, tmp_path):
    recipe = load_recipe(
        FULL, [f"name={text}", f"judge.model=m{text}", f"generator.base_url=http://x/{text.split()[0]}"]
    )
    assert (recipe.name, recipe.judge.model) == (text, f"m{text}")
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize("text", ["4_1", "on", "1e3", "0x10", "2024-11-05", "1:30", "010", ".inf", "no", "7"])
def test_in_a_file_too_a_text_is_as_it_was_written(text, tmp_path):
    reward = f"reward: [{{fn: rewards.stepwise.mean_gain, name: {text}}}]"
    (tmp_path / "mine.yaml").write_text(
        f"extends: {FULL}\nname: {text}\n{reward}\npolicy: {{lora: {{targets: [{text}, q_proj]}}}}\n"
        f"judge: {{kind: ensemble, members: [{{scorer: {text}}}, {{kind: openai, model: {text}}}]}}\n"
        f"evidence: {{{text}: {{judge: {{kind: openai, model: {text}}}}}}}\n"
    )
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert (recipe.name, recipe.reward.terms[0].name, recipe.policy.lora.targets[0]) == (text, text, text)
    assert recipe.evidence[text].judge.model == text
    assert [member.get("model") or member["scorer"] for member in recipe.judge.members] == [text, text]


def test_empty_text_can_be_typed_and_nothing_where_a_field_may_be_null():
    recipe = load_recipe(FULL, ["generator.name=", "judge.base_url=null", "data.image_prefix=''"])
    assert (recipe.generator.name, recipe.judge.base_url, recipe.data.image_prefix) == ("", None, "")
    recipe = load_recipe(FULL, ["policy.lora.targets=['4_1', on]", "policy.lora.targets.0=1e3", "judge.call={n: 4_1}"])
    assert recipe.policy.lora.targets == ["1e3", "on"]
    assert recipe.judge.call == {"n": 41}


def test_null_in_a_file_is_no_text(tmp_path):
    (tmp_path / "mine.yaml").write_text(f"extends: {FULL}\nstore: null\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: store is empty \(null\); expected text$"):
        load_recipe(tmp_path / "mine.yaml")


# ---- references -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["${oc.env:SECRET}", "${oc.${kind}:SECRET}", "a${ oc.env : SECRET }", "${oc.decode:${oc.env:X}}", "\\${x:y}"],
)
def test_no_variable_of_the_environment_reaches_a_recipe(text, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hidden")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"extends": str(FULL), "generator": {"call": {"token": text}}}))
    for source, overrides in ((FULL, [f"name={text}"]), (FULL, [f"seed={text}"]), (tmp_path / "mine.yaml", [])):
        with pytest.raises(ValueError, match="where no secret belongs") as raised:
            load_recipe(source, overrides)
        assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run_dir=runs/${nam}", r"run_dir is 'runs/\$\{nam\}', which cannot be read: .*nam"),
        ("run_dir=${run_dir}", "it refers to itself|cannot be read"),
        ("name=\\${seed}", "expected text without"),
        ("seed=${name}", r"seed is '\$\{name\}'"),
    ],
)
def test_a_reference_that_leads_nowhere_is_explained(override, message):
    with pytest.raises(ValueError, match=message) as raised:
        load_recipe(FULL, [override])
    assert "\n" not in str(raised.value)


# ---- dropping -------------------------------------------------------------------------------------------------------

PARENT = "extends: critic_grpo.yaml\ngenerator: {call: {guidance_scale: 1.0, steps: 4}}\npolicy: {lr: 1.0e-5}\n"


def test_a_key_is_dropped_on_the_command_line_and_in_a_file(tmp_path):
    (tmp_path / "parent.yaml").write_text(PARENT)
    by_hand = load_recipe(tmp_path / "parent.yaml", ["~generator.call.guidance_scale", "~policy.lr", "~reward.terms.3"])
    assert by_hand.generator.call == {"steps": 4}
    assert by_hand.policy.lr == 2e-6
    assert len(by_hand.reward.terms) == 3
    (tmp_path / "child.yaml").write_text(
        "extends: parent.yaml\ngenerator: {call: {guidance_scale: !delete }, name: ''}\npolicy: {lr: !delete }\n"
    )
    child = load_recipe(tmp_path / "child.yaml", ["generator.model=a/b"])
    assert (child.generator.call, child.generator.name, child.policy.lr) == ({"steps": 4}, "", 2e-6)
    (tmp_path / "again.yaml").write_text("extends: child.yaml\ngenerator: {call: {guidance_scale: 3.0}}\n")
    assert load_recipe(tmp_path / "again.yaml").generator.call == {"steps": 4, "guidance_scale": 3.0}
    (tmp_path / "all.yaml").write_text("extends: parent.yaml\ngenerator: {call: !delete }\n")
    assert load_recipe(tmp_path / "all.yaml").generator.call == {}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("~generator.call.guidance", "there is no generator.call.guidance to drop: .*; did you mean guidance_scale"),
        ("~generator.cal", r"unknown key generator.cal; did you mean call\?"),
        ("~seed", "there is no seed to drop: no recipe below sets it"),
        ("~seed=3", "or ~key to drop a key"),
        ("~", "unknown key"),
    ],
)
def test_what_cannot_be_dropped_is_said(override, message, tmp_path):
    (tmp_path / "parent.yaml").write_text(PARENT)
    with pytest.raises(ValueError, match=message):
        load_recipe(tmp_path / "parent.yaml", [override])


# ---- folders --------------------------------------------------------------------------------------------------------


def test_home_folders_are_expanded_once_at_load(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    keys = ["run_dir", "store", "data.train", "data.heldout", "data.image_root", "data.image_prefix", "rollout.prompt"]
    keys += ["policy.model", "generator.model", "generator.lora", "judge.semantics_rubric"]
    recipe = load_recipe(FULL, [*(f"{key}=~/x" for key in keys), "data.prefixes=[~/a=~/b]", "name=~"])
    written = yaml.safe_load(to_yaml(recipe))
    for key in keys:
        value = written
        for part in key.split("."):
            value = value[part]
        assert value == f"{tmp_path}/x", key
    assert (recipe.data.prefixes, recipe.name) == ([f"{tmp_path}/a={tmp_path}/b"], "~")
    sft = load_as(SftRecipe, REPO / "recipes/critic_sft.yaml", ["run_dir=~", "data.train=~/a"])
    assert (sft.run_dir, sft.data.train) == (str(tmp_path), f"{tmp_path}/a")
    build = load_as(BuildRecipe, REPO / "recipes/build_data.yaml", ["requests.file=~/r.txt", "planner.fn=~/m.py:plan"])
    assert (build.requests.file, build.planner.fn) == (f"{tmp_path}/r.txt", f"{tmp_path}/m.py:plan")
    (tmp_path / "base.yaml").write_text(f"extends: {FULL}\nstore: ~/s\n")
    (tmp_path / "mine.yaml").write_text("extends: ~/base.yaml\n")
    assert load_recipe("~/mine.yaml").store == f"{tmp_path}/s"
    with pytest.raises(ValueError, match="run_dir: '~nobody-here/x' begins with the home folder of a user"):
        load_recipe(FULL, ["run_dir=~nobody-here/x"])


def test_options_of_commands_know_home_folders_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["shapes", "requests", "--count", "2", "--out", "~/requests"]) == 0
    assert os.listdir(tmp_path) == ["requests"]
    assert cli.main(["ledger", "~/none"]) == 2
    assert f"{tmp_path}/none" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["ledger", "~nobody-here/x"])
    assert "a user who does not exist" in capsys.readouterr().err


def test_a_recipe_is_found_in_the_checkout_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_recipe("recipes/critic_grpo.yaml").name == "critic_grpo"
    assert load_story_recipe("recipes/shapes_story.yaml").name == "shapes_story"
    assert load_served(REPO.__class__("recipes/shapes_story.yaml"), []).name == "shapes_story"
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "critic_grpo.yaml").write_text(f"extends: {FULL}\nname: own\n")
    assert load_recipe("recipes/critic_grpo.yaml").name == "own", "the working folder's is first"
    with pytest.raises(
        ValueError, match=r"recipe recipes/critic_gpo\.yaml does not exist; .*did you mean recipes/critic_grpo"
    ):
        load_recipe("recipes/critic_gpo.yaml")


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1\nb: 2\n", r"bad\.yaml is not YAML: line 2, column 2: expected ',' or '\]'"),
        (b"name: a\n\tseed: 1\n", r"bad\.yaml is not YAML: line 2, column 1: found character '\\t'"),
        (b"seed: 1\nname: a\nseed: 2\n", r"bad\.yaml: line 3, column 1: the key seed is given twice, first in line 1"),
        (b"policy:\n  lr: 1\n  lr: 2\n", r"bad\.yaml: line 3, column 3: the key lr is given twice, first in line 2"),
        (b"", r"bad\.yaml is empty; expected settings"),
        (b"# nothing\n", r"bad\.yaml is empty"),
        (b"- a\n", r"bad\.yaml: expected a mapping of settings, found a list"),
        (b"words\n", r"bad\.yaml: expected a mapping of settings, found a single value"),
        (b"name: \xe9\n", r"bad\.yaml is not text in UTF-8: byte 6 is 0xe9"),
        (b"\x89PNG\r\n\x1a\n", r"bad\.yaml is not text in UTF-8: byte 0"),
        (b"name: a\x00b\n", r"bad\.yaml is not YAML: .*special characters are not allowed"),
        (b"a: &x [*x]\n", r"bad\.yaml: line 1, column 4: found unconstructable recursive node"),
        (b"? [a]\n: 1\n", r"bad\.yaml: line 1, column 3: a key is a list or a mapping; expected text"),
        (b"name: !python/object:x {}\n", r"bad\.yaml: line 1, column 7: could not determine a constructor"),
        (b"a: 1\n---\nb: 2\n", r"bad\.yaml is not YAML: line 2, column 1: but found another document"),
        (b"policy:\n", r"bad\.yaml: policy is empty \(null\); expected settings like \{model: \.\.\.\}"),
        (b"policy: {loss: 1}\n", r"bad\.yaml: unknown key policy\.loss; did you mean algorithm\.loss\?"),
        (b"lr: 1\n", r"bad\.yaml: unknown key lr; did you mean policy\.lr\?"),
        (b"policy: {max_lenght: 1}\n", r"bad\.yaml: unknown key policy\.max_lenght"),
        (
            b"reward: {terms: {fn: a}}\n",
            r"bad\.yaml: reward\.terms is a mapping; expected a list, like \[\{",
        ),
        (b"reward: [fn]\n", r"bad\.yaml: reward\.terms\.0 is 'fn'; expected settings like \{fn: \.\.\.\}"),
        (b"extends: [a, b]\n", r"bad\.yaml: extends is a list; expected one file"),
        (b"extends: /\n", r"recipe / is a folder; expected a YAML file"),
        (b"extends: none.yaml\n", r"none\.yaml does not exist; the built-in ones are in .*bad\.yaml extends it"),
        (b"rollout: {n: !delete }\n", r"bad\.yaml: there is no rollout\.n to drop"),
        (b"tracking: {backends: [!delete ]}\n", r"tracking\.backends\.0: !delete is for a key of a mapping"),
        (b"'': 1\n", r"bad\.yaml: the recipe has a key without a name"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line_that_names_it(content, message, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        load_recipe(tmp_path / "bad.yaml")
    assert "\n" not in str(raised.value)


def test_recipes_that_extend_each_other_are_refused_with_their_chain(tmp_path):
    for one, other in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{one}.yaml").write_text(f"extends: {other}.yaml\n")
    with pytest.raises(ValueError, match=r"a\.yaml extends itself: a\.yaml -> b\.yaml -> c\.yaml -> a\.yaml"):
        load_recipe(tmp_path / "a.yaml")


def test_a_file_from_windows_is_read(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xef\xbb\xbf" + f"extends: {FULL}\r\nname: mine\r\n".encode())
    assert load_recipe(tmp_path / "mine.yaml").name == "mine"


# ---- the command line -----------------------------------------------------------------------------------------------


def test_a_resume_is_refused_with_old_and_new_values(tmp_path):
    recipe = load_recipe(FULL, [f"run_dir={tmp_path}/run"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(to_yaml(recipe))
    learn_until(tmp_path / "run", 5)
    other = load_recipe(FULL, [f"run_dir={tmp_path}/run", "rollout.n=4", "judge.model=4_1", "judge.call={a: 1}"])
    with pytest.raises(ValueError, match=r"a different judge.call.a \(was not there, now 1\), judge.model \(was \"gpt"):
        check_run_dir(other, True)
    with pytest.raises(ValueError, match=r"rollout.n \(was 8, now 4\)"):
        check_run_dir(other, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "interleave: unknown command 'trian'; did you mean train?; the commands are train, plan, doctor, "),
        (["frobnicate"], "interleave: unknown command 'frobnicate'; the commands are train, plan, doctor, "),
        (["data", "chekc"], "interleave: unknown command 'chekc'; did you mean check?; the commands are check, show"),
        (["data"], "interleave: the following arguments are required: command; see interleave data --help"),
        (["train"], "interleave: the following arguments are required: recipe; see interleave train --help"),
        (["train", "x.yaml", "--resmue"], "interleave: unrecognized arguments: --resmue; did you mean --resume?"),
        (["learning", "x.yaml", "--seeds", "a,b"], "expected whole numbers with commas between, like 0,1,2"),
        (["shapes", "requests", "--count", "-1"], "expected a whole number, 0 or more"),
        (["reward", "test", "x.py", "--timeout", "nan"], "expected a number above 0"),
        (["ledger", ""], "it is empty; expected a file or a folder"),
        (["ledger", "s3://bucket/run"], "'s3://bucket/run' is a URL; expected a file or a folder"),
        (["learning", "x.yaml", "--seeds", "1,2,1"], "'1,2,1' has a number twice"),
        (["eval", "stories", "x.yaml", "--quality", "nan"], "expected a number above 0"),
        (["eval", "stories", "x.yaml", "--semantics", "11"], "expected a judge's score, above 0 and at most 10"),
    ],
)
def test_a_wrong_command_is_one_line_that_says_what_is_meant(arguments, message, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    told = capsys.readouterr().err
    assert left.value.code == 2
    assert message in told
    assert told.count("\n") == 1


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == "interleave 0.1.0\n"


def test_a_key_can_be_dropped_by_the_command(tmp_path, capsys):
    assert cli.main(["train", str(FULL), "~generator.nam"]) == 2
    assert capsys.readouterr().err == "interleave: command line: unknown key generator.nam; did you mean name?\n"
