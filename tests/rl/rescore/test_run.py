"""`interleave rescore`: the same bits under the run's own recipe, and what another reward would have changed."""

import asyncio
import shutil
from dataclasses import replace

import pyarrow.parquet
import pytest

from rl.batch import learnable, make_batch
from rl.cli.main import main
from rl.data_build.config import BuildRecipe
from rl.recipe.config import REPO
from rl.recipe.reader import load_as, to_yaml
from rl.recipe.sft_config import SftRecipe
from rl.rescore.run import rescore
from rl.story.config import StoryRecipe
from rollout.types import Critique, Evidence, Failure, Group, Response, Reward, Sample, Scores, Stage, Task
from tests.support.finished_run import add_rows, finished_run

MINE = """
import math
from rewards.needs import needs


def careless(evidence):
    return 1.0 if "ruby" in evidence.critique.refine_prompt else 0.5


def undefined(evidence):
    return math.nan if evidence.task.is_success else 0.25


def broken(evidence):
    raise RuntimeError("no luck \\ud83d \\x1b[31m")


async def slow_but_right(evidence):
    return float(len(evidence.response.text))


@needs("ocr")
def reading(evidence):
    return 1.0
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("rescore") / "run")


@pytest.fixture
def run(made, tmp_path):
    """A copy of the run, to be spoiled."""
    shutil.copytree(made.folder, tmp_path / "run")
    return replace(made, folder=tmp_path / "run")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "mine.py"
    path.write_text(MINE)
    return path


def rescored(folder, *overrides):
    result = asyncio.run(rescore(folder, overrides))
    return result, pyarrow.parquet.read_table(result.path).to_pandas()


def only(fn, weight=1.0):
    return f"reward=[{{fn: '{fn}', weight: {weight}}}]"


def test_own_rewards_and_advantages_are_those_of_training_bit_by_bit(run):
    result, table = rescored(run.folder)
    assert result.is_good
    assert result.is_own
    assert result.samples.num_identical == result.samples.num_rewarded_before == table.old_total.notna().sum()
    assert (table.old_total.dropna() == table.new_total.dropna()).all()
    assert len(table) == result.samples.num_samples == 3 * 4 * 8 + 2 * 2
    for step, groups in run.steps.items():
        batch = make_batch(learnable(groups, run.recipe), run.recipe)
        learned = table[(table.phase == "train") & (table.step == step)].sort_values(["task_id", "index"])
        expected = [row.advantages[0] for row in batch.rows]
        assert learned.new_advantage.dropna().tolist() == learned.old_advantage.dropna().tolist() == expected
        earned = {(s.task_id, s.index): s.reward.total for group in groups for s in group.samples if s.reward}
        kept = learned[learned.new_total.notna()]
        assert dict(zip(zip(kept.task_id, kept["index"], strict=True), kept.new_total, strict=True)) == earned
    assert table[table.phase == "after"].new_advantage.isna().all()  # nobody learns from an evaluation


def test_failed_samples_stay_failed_where_they_failed(run):
    result, table = rescored(run.folder, "reward=paper")
    failed = table[table.error.notna()]
    assert len(failed) == sum(s.failure is not None for groups in run.steps.values() for g in groups for s in g.samples)
    assert failed.error.unique().tolist() == ["generate: GeneratorError: out of memory"]
    assert failed.new_total.isna().all()
    assert not result.samples.errors  # the new reward is not to blame


def test_a_reward_that_is_not_the_ledgers_is_found_and_named(run, capsys):
    group = run.steps[2][1]
    place = next(i for i, sample in enumerate(group.samples) if sample.reward is not None)
    spoiled = replace(group.samples[place], reward=Reward({**group.samples[place].reward.terms, "format": 0.3}, 0.7))
    add_rows(run.folder, [Group(group.task, (spoiled,))], step=2)
    assert main(["rescore", str(run.folder)]) == 1
    printed = capsys.readouterr().out
    count = sum(s.reward is not None for groups in run.steps.values() for g in groups for s in g.samples) + 4
    assert f"{count - 1} of {count} rewards bit-identical" in printed
    where = f"train step 2, task {group.task.id}, sample {spoiled.index}"
    assert f"the first difference: {where}: format was 0.3, is " in printed


def hand_made(number, gains):
    """A group of a failed task: sample i gained `gains[i]` points and says success where i is odd."""
    task = Task(f"hand-{number}", "a red box", "", None, "after", False, Scores(5.0, 5.0))
    samples = []
    for index, gain in enumerate(gains):
        critique = Critique(bool(index % 2), "a ruby box")
        evidence = Evidence(task, Response((), (1, 2), "x" * 10, (), 0), critique, None, "i", Scores(5.0 + gain, 5.0))
        total = 0.5 + 0.5 * ((gain / 10 + 1) / 2)
        reward = Reward({"format": 1.0, "semantic_gain": (gain / 10 + 1) / 2}, total)
        samples.append(Sample(task.id, index, 0, evidence, reward, None))
    return Group(task, tuple(samples))


def test_what_another_reward_changes_by_hand(run):
    shutil.rmtree(run.folder / "ledger")
    # By gain the second and fourth are best; by verdict (failed: the even ones are right) the first and third.
    add_rows(run.folder, [hand_made(1, [0, 2, 0, 2]), hand_made(2, [4, 0, 4, 0]), hand_made(3, [1, 1, 1, 1])])
    result, table = rescored(run.folder, only("rewards.accuracy.is_right"), "rollout.n=4")
    groups = result.groups
    assert (groups.num_groups, groups.num_flat_before, groups.num_flat) == (3, 1, 0)
    assert (groups.num_compared, groups.num_other_best) == (3, 1)  # a tie with the old best is no change
    assert (groups.num_advantages, groups.num_flipped) == (8, 4)  # the flat group had no advantages before
    assert result.samples.new_terms.get("is_right") == 0.5
    assert result.samples.new_terms.get("format") is None
    pearson, spearman = result.samples.correlations()
    assert pearson == pytest.approx(table.old_total.corr(table.new_total), abs=1e-12)
    assert spearman == pytest.approx(table.old_total.corr(table.new_total, method="spearman"), abs=1e-12)
    assert result.ignored == ["rollout.n"]
    assert "old_semantic_gain" in table.columns
    assert table.new_is_right.tolist() == [1.0, 0.0] * 6


def test_an_estimator_without_the_deviation_changes_advantages_alone(run, capsys):
    assert main(["rescore", str(run.folder), "algorithm.normalise_by_std=false"]) == 0
    printed = capsys.readouterr().out
    assert "rewards bit-identical" in printed
    assert "advantages with the other sign" in printed
    assert "grpo, not by std" in printed
    table = pyarrow.parquet.read_table(run.folder / "rescored" / "algorithm.normalise_by_std=false.parquet").to_pandas()
    learned = table[table.new_advantage.notna()]
    means = learned.groupby(["step", "task_id"]).new_total.transform("mean")
    assert learned.new_advantage.tolist() == pytest.approx((learned.new_total - means).tolist(), abs=1e-6)


@pytest.mark.slow
def test_a_term_that_raises_or_is_no_number_fails_its_samples_by_name(run, mine, capsys):
    """Slow: it starts processes of Python."""
    terms = f"[{{fn: '{mine}:careless'}}, {{fn: '{mine}:undefined'}}, {{fn: '{mine}:slow_but_right'}}]"
    assert main(["rescore", str(run.folder), f"reward={terms}"]) == 0
    printed = capsys.readouterr().out
    (path,) = (run.folder / "rescored").glob("*.parquet")
    table = pyarrow.parquet.read_table(path).to_pandas()
    rewarded = table[table.new_total.notna()]
    assert len(rewarded) > 10
    assert (rewarded.new_total == rewarded.new_careless + rewarded.new_undefined + rewarded.new_slow_but_right).all()
    by_reward = table[table.error.str.startswith("reward: ", na=False)]
    assert by_reward.error.str.contains("careless: raised AttributeError").any()
    assert by_reward.error.str.contains("undefined: returned nan").any()
    assert f"{len(by_reward)} samples would fail under this reward" in printed


def test_samples_that_failed_at_the_reward_get_another_chance(run):
    group = run.steps[1][1]
    whole = next(sample for sample in group.samples if sample.reward is not None)
    failed = replace(whole, reward=None, failure=Failure(Stage.REWARD, "RewardError: reward term x: hung"))
    add_rows(run.folder, [Group(group.task, (failed,))], step=1)
    result, table = rescored(run.folder)
    assert result.is_good
    assert result.samples.num_rewarded == result.samples.num_rewarded_before + 1
    (again,) = table[table.new_total.notna() & table.old_total.isna()].itertuples()
    assert again.new_total == whole.reward.total


@pytest.mark.slow
def test_a_reward_that_fails_everywhere_is_no_success(run, mine, capsys):
    """Slow: it starts processes of Python."""
    assert main(["rescore", str(run.folder), only(f"{mine}:broken")]) == 1
    printed = capsys.readouterr().out
    assert "no sample has a reward" in printed
    assert r"broken: raised RuntimeError: no luck \ud83d \x1b[31m" in printed  # nor does it colour the terminal


def refusal(capsys, *arguments):
    assert main(["rescore", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.slow
def test_wrong_input_is_said_in_one_line(run, mine, tmp_path, capsys):
    """Slow: it starts processes of Python."""
    assert "not the folder of a run: it has no recipe.yaml" in refusal(capsys, tmp_path / "nowhere")
    assert "reward set 'papper' is unknown" in refusal(capsys, run.folder, "reward=papper")
    assert "expected one of grpo, gdpo" in refusal(capsys, run.folder, "algorithm.advantage=unheard_of")
    assert "needs the evidence ocr, which this run did not gather" in refusal(
        capsys, run.folder, only(f"{mine}:reading")
    )
    shutil.rmtree(run.folder / "ledger")
    assert "has no ledger" in refusal(capsys, run.folder)
    (run.folder / "ledger").mkdir()
    assert "holds no sample" in refusal(capsys, run.folder)
    assert not list((run.folder / "rescored").glob("*"))  # nothing half-written stays


@pytest.mark.parametrize("command", ["rescore", "inspect"])
def test_a_folder_of_a_job_without_rewards_is_told_what_it_is(tmp_path, capsys, command):
    sft = load_as(SftRecipe, REPO / "recipes" / "shapes_critic_sft.yaml")
    build = load_as(BuildRecipe, REPO / "recipes" / "build_shapes.yaml")
    bundle = load_as(StoryRecipe, REPO / "recipes" / "shapes_story.yaml")
    for recipe, what in [(sft, "an SFT run"), (build, "a data build"), (bundle, "a bundle")]:
        (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
        assert main([command, str(tmp_path), "reward=paper"]) == 2
        assert capsys.readouterr().err == (
            f"interleave: {tmp_path} is the folder of {what}, which has no rewards; runs of `interleave train` have\n"
        )


def spoiled_recipe(run, old, new):
    path = run.folder / "recipe.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def theirs(tmp_path):
    """A file that leaves a mark when it is imported."""
    path = tmp_path / "theirs.py"
    path.write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\ndef f(evidence):\n    return 1.0\n"
        "def advantage(token_level_rewards, response_mask):\n    return token_level_rewards * response_mask\n"
    )
    return path


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("rewards.stepwise.semantic_gain", "{theirs}:f", "f of {theirs} (reward.terms.1.fn)"),
        ("rewards.stepwise.semantic_gain", "os.path.isdir", "isdir of os.path (reward.terms.1.fn)"),
        ("advantage: grpo", "advantage: '{theirs}:advantage'", "advantage of {theirs} (algorithm.advantage)"),
    ],
)
def test_code_that_a_runs_recipe_names_is_told_and_not_run(run, theirs, capsys, old, new, named):
    spoiled_recipe(run, old, new.format(theirs=theirs))
    assert main(["rescore", str(run.folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"interleave: {run.folder} is the folder of a run whose recipe names code that would run here: "
        f"{named.format(theirs=theirs)}; read that code, then add --trust-code to run it"
    )
    assert not (theirs.parent / "ran").exists()
    assert not (run.folder / "rescored").exists()
    assert main(["inspect", str(run.folder)]) == (2 if "advantage" in new else 0)
    assert not (theirs.parent / "ran").exists()


def test_code_that_a_stranger_hides_behind_a_reward_set_is_not_run(run, theirs, capsys):
    spoiled_recipe(run, "  replaced: {}", f"  replaced: {{algorithm.advantage: '{theirs}:advantage'}}")
    assert main(["rescore", str(run.folder), "reward=paper"]) == 2
    assert f"advantage of {theirs}" in capsys.readouterr().err
    assert not (theirs.parent / "ran").exists()


@pytest.mark.slow
def test_code_that_its_user_trusts_or_names_is_run(run, theirs, tmp_path, capsys):
    """Slow: it starts processes of Python."""
    spoiled_recipe(run, "rewards.stepwise.semantic_gain", f"{theirs}:f")
    (tmp_path / "set.yaml").write_text("terms: [{fn: './theirs.py:f', weight: 2}]\n")
    for named in (f"reward={tmp_path}/set.yaml", only(f"{theirs}:f", 2.0), f"reward.terms.1.fn={theirs}:f"):
        assert main(["rescore", str(run.folder), named]) in (0, 1)
        assert "trust" not in capsys.readouterr().err
    assert main(["rescore", str(run.folder), "reward=paper"]) == 0  # nothing of theirs is left
    assert main(["rescore", str(run.folder), "reward.terms.1.weight=2"]) == 2
    assert main(["rescore", str(run.folder), "reward.terms.1.weight=2", "--trust-code"]) == 0
    assert (theirs.parent / "ran").exists()


def test_a_loss_of_the_runs_own_is_neither_needed_nor_run(run, theirs):
    spoiled_recipe(run, "policy_loss: vanilla", f"policy_loss: '{theirs}:f'")
    assert main(["rescore", str(run.folder)]) == 0
    assert not (theirs.parent / "ran").exists()
