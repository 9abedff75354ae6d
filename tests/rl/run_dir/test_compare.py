"""Runs side by side.

Slow: whole runs are written and read.
"""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from rewards.compose import TermConfig
from rl.cli.compare import print_comparison
from rl.cli.main import main
from rl.evaluation import Evaluation, EvaluationRow
from rl.recipe.config import REPO, RewardConfig
from rl.recipe.reader import load_recipe, to_yaml
from rl.run_dir.compare import compare_runs

pytestmark = pytest.mark.slow


def row(task: int, reward: float, index: int = 0) -> EvaluationRow:
    return EvaluationRow(f"task-{task}", index, True, True, True, reward, 10 * reward, float(reward > 0.5))


def make_run(folder, rewards=(), steps=(), **changes):
    """A run's folder with an evaluation after training of so many tasks, and rows of metrics."""
    recipe = load_recipe(REPO / "recipes" / "shapes_grpo.yaml", [f"run_dir={folder}"])
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(to_yaml(replace(recipe, **changes)), encoding="utf-8")
    if rewards:
        rows = tuple(row(task, reward) for task, reward in enumerate(rewards))
        Evaluation(rows, (), 0).save(folder / "evaluation_after.json")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps), encoding="utf-8")
    return folder


def shown(*folders) -> str:
    out = io.StringIO()
    print_comparison(compare_runs(folders), Console(file=out, width=120, highlight=False, soft_wrap=True))
    return out.getvalue()


def test_what_differs_is_paired_by_task(tmp_path):
    """Tasks differ by far more than runs do: an interval that were not paired would hold 0."""
    tasks = [task / 20 for task in range(20)]
    one = make_run(tmp_path / "one", tasks)
    other = make_run(tmp_path / "other", [reward + 0.01 + 0.001 * (task % 2) for task, reward in enumerate(tasks)])
    [changes] = compare_runs([one, other]).changes
    assert not isinstance(changes, str)
    change = changes["reward"]
    assert change.difference == pytest.approx(0.0105)
    assert 0.01 <= change.low < change.high <= 0.011
    assert "+0.011" in shown(one, other)


def test_recipes_differ_in_what_is_said(tmp_path):
    one, other = make_run(tmp_path / "one"), make_run(tmp_path / "other", seed=7, name="another")
    assert compare_runs([one, other]).differences == {"seed": ["0", "7"]}
    assert "differ in nothing" in shown(one, make_run(tmp_path / "third"))


def test_course_and_cost_are_summed_over_steps(tmp_path):
    """An ensemble's bill is its members': added up it would be paid twice. Totals so far are no step's."""
    steps = [
        {
            "step": step,
            "seconds/step": 1800.0,
            "rollout/samples": 10.0,
            "rollout/failure_share": 0.1 * step,
            "judge/usd": 2.0,
            "judge/0-a/usd": 1.5,
            "judge/1-b/usd": 0.5,
            "judge_total/usd": 2.0 * step,
            "evidence/look/usd": 0.25,
            "generator/calls": 7.0,
            "generator/hits": 2.0,
            "generator/shared": 1.0,
            "samplers/calls": 99.0,
        }
        for step in (1, 2)
    ]
    one, other = make_run(tmp_path / "one", steps=steps), make_run(tmp_path / "other")
    ran, empty = compare_runs([one, other]).runs
    assert (ran.num_steps, ran.hours, ran.usd, ran.calls, ran.free_calls) == (2, 1.0, 4.5, 14.0, 6.0)
    assert ran.failure_share == pytest.approx(0.15)
    assert (empty.num_steps, empty.failure_share) == (0, None)
    assert "2 of 50" in shown(one, other)


def test_three_runs_are_held_against_the_first(tmp_path):
    runs = [make_run(tmp_path / name, [0.1 * number] * 3) for number, name in enumerate("abc")]
    first, second = compare_runs(runs).changes
    assert not isinstance(first, str)
    assert not isinstance(second, str)
    assert (first["reward"].difference, second["reward"].difference) == pytest.approx((0.1, 0.2))


def test_what_cannot_be_paired_is_told(tmp_path):
    one, unfinished = make_run(tmp_path / "one", [0.5]), make_run(tmp_path / "unfinished")
    assert f"\nnot compared: {unfinished} has no evaluation after training\n" in shown(one, unfinished)
    recipe = load_recipe(REPO / "recipes" / "shapes_grpo.yaml")
    reseeded = make_run(tmp_path / "reseeded", [0.5], evaluation=replace(recipe.evaluation, seed=5))
    assert "other seeds (evaluation.seed)" in shown(one, reseeded)
    others = make_run(tmp_path / "others")
    Evaluation((row(99, 0.5),), (), 0).save(others / "evaluation_after.json")
    assert "share no held-out task" in shown(one, others)


def test_rewards_of_another_meaning_have_no_interval(tmp_path):
    paper = load_recipe(REPO / "recipes" / "shapes_grpo.yaml", ["reward=paper"]).reward
    one = make_run(tmp_path / "one", [0.2, 0.4, 0.6])
    text = shown(one, make_run(tmp_path / "other", [0.3, 0.5, 0.6], reward=paper))
    [reward] = [line for line in text.splitlines() if "reward without format" in line]
    assert [cell.strip() for cell in reward.split("│")[2:-1]] == ["0.400", "0.467", "-", "-"]
    said = "0.1 accuracy.is_right + 0.3 stepwise.semantic_gain + 0.1 stepwise.quality_gain in the first, "
    said += "0.1 accuracy.disagreement + 0.4 stepwise.mean_gain in the second"
    assert f"one and other have different rewards: {said}" in text
    assert " to " in next(line for line in text.splitlines() if "semantic gain" in line)


def test_a_negative_weight_is_subtracted(tmp_path):
    terms = [TermConfig("rewards.stepwise.mean_gain", 0.5), TermConfig("rewards.accuracy.disagreement", -0.2)]
    [ran, _] = compare_runs([make_run(tmp_path / "one", reward=RewardConfig(terms)), make_run(tmp_path / "other")]).runs
    assert ran.reward == "0.5 stepwise.mean_gain - 0.2 accuracy.disagreement"


def test_a_reward_whose_code_has_changed_has_no_interval(tmp_path):
    own = RewardConfig([TermConfig("./mine.py:shade")])
    runs = [make_run(tmp_path / name, [0.2, 0.4], reward=own) for name in ("one", "other")]
    for number, run in enumerate(runs):
        (run / "versions.json").write_text(json.dumps({"reward": {"shade": f"./mine.py:shade@{number}"}}))
    assert "have different rewards: the code of shade has changed" in shown(*runs)
    assert "different rewards" not in shown(runs[0], runs[0])


def test_tasks_in_common_are_counted(tmp_path):
    many, few = make_run(tmp_path / "many", [0.1] * 16), make_run(tmp_path / "few", [0.2] * 8)
    assert "; 8 tasks in common of 16 and 8" in shown(many, few)
    assert "in common" not in shown(many, make_run(tmp_path / "again", [0.2] * 16))


def test_folders_of_one_name_are_told_apart(tmp_path):
    assert "a/run" in shown(make_run(tmp_path / "a" / "run"), make_run(tmp_path / "b" / "run"))


@pytest.mark.parametrize(("runs", "says"), [(["one"], "two or more"), (["one", "none"], "it has no recipe.yaml")])
def test_what_cannot_be_compared_is_one_line(tmp_path, capsys, runs, says):
    make_run(tmp_path / "one")
    assert main(["compare", *(str(tmp_path / run) for run in runs)]) == 2
    assert says in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


def test_the_command_shows_runs(tmp_path, capsys):
    runs = [make_run(tmp_path / name, [0.2, 0.4]) for name in ("one", "other")]
    assert main(["compare", *map(str, runs)]) == 0
    assert "what each run came to" in capsys.readouterr().out
