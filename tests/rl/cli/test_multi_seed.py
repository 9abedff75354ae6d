"""Several seeds, one after the other, on runs that only say what they came to."""

import sys
from types import SimpleNamespace

import pytest

from rl.cli import main as cli
from rl.evaluation import Change
from rl.recipe.config import REPO
from rollout.roles import BudgetSpent, RunStopped

GOOD = {
    "reward": Change(0.5, 0.6, 0.05, 0.15),
    "semantic_gain": Change(1.0, 3.0, 1.5, 2.5),
    "fixed": Change(0.1, 0.4, 0.2, 0.4),
    "verdict_accuracy": Change(0.8, 0.8, -0.02, 0.02),
}


@pytest.fixture
def learning(tmp_path, monkeypatch):
    """Return the command, for runs that end as told by seed; beside it, what was prepared."""
    ends, prepared = {}, []

    def prepare(recipe, *, is_resumed, accepted):
        prepared.append((recipe.seed, recipe.run_dir, is_resumed))
        return recipe

    async def run(recipe, console):
        if isinstance(end := ends.get(recipe.seed, GOOD), BaseException):
            raise end
        return SimpleNamespace(changes=end)

    monkeypatch.setitem(sys.modules, "rl.prepare", SimpleNamespace(prepare=prepare))
    monkeypatch.setitem(sys.modules, "rl.run", SimpleNamespace(run=run))

    def command(*arguments, **told):
        ends.update({int(name.removeprefix("seed")): end for name, end in told.items()})
        recipe = str(REPO / "recipes/shapes_grpo.yaml")
        return cli.main(["learning", recipe, "--seeds", "0,1,2", "--out", str(tmp_path), *arguments])

    return command, prepared


def test_each_seed_has_a_folder_and_all_have_to_hold(learning, tmp_path, capsys):
    command, prepared = learning
    assert command() == 0
    assert prepared == [(seed, f"{tmp_path}/seed{seed}", False) for seed in range(3)]
    assert command(seed1={**GOOD, "fixed": Change(0.1, 0.15, 0.01, 0.09)}) == 1
    assert "seed 1: fixed changed by +0.050" in capsys.readouterr().out


def test_a_seed_that_stops_costs_the_others_nothing(learning, capsys):
    command, prepared = learning
    assert command(seed1=RunStopped("the judge is down")) == 1
    told = capsys.readouterr().out
    assert "seed 1: the run stopped: the judge is down" in told
    assert told.count("yes") == 2
    assert len(prepared) == 3


def test_what_ends_all_leaves_the_seeds_before(learning, tmp_path, capsys):
    command, prepared = learning
    assert command(seed1=BudgetSpent("20 of 20 calls are made")) == 3
    assert command(seed1=KeyboardInterrupt()) == 130
    told = capsys.readouterr()
    assert told.out.count("yes") == 2
    assert "20 of 20 calls are made; go on with the same command and --resume" in told.err
    assert f"go on with the same command, --out {tmp_path} and --resume" in told.err
    assert [seed for seed, *_ in prepared] == [0, 1] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", f"0,{2**63}"], f"seed is {2**63}; expected"),
        (["seed=3"], "say --seeds"),
        (["run_dir=elsewhere"], "say --out"),
    ],
)
def test_what_is_wrong_with_a_later_seed_is_told_before_the_first_is_trained(learning, arguments, message, capsys):
    command, prepared = learning
    assert command(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not prepared


def test_a_folder_of_a_later_seed_that_holds_a_run_is_told_before_the_first_is_trained(learning, tmp_path, capsys):
    command, prepared = learning
    (tmp_path / "seed2").mkdir()
    (tmp_path / "seed2" / "metrics.jsonl").write_text("{}\n")
    assert command() == 2
    assert "seed2 holds a run already" in capsys.readouterr().err
    assert not prepared


def test_begun_runs_go_on(learning, tmp_path):
    command, prepared = learning
    (tmp_path / "seed0").mkdir()
    (tmp_path / "seed0/recipe.yaml").touch()
    assert command("--resume") == 0
    assert [is_resumed for *_, is_resumed in prepared] == [True, False, False]


def test_what_goes_on_has_to_be_said(capsys):
    assert cli.main(["learning", str(REPO / "recipes/shapes_grpo.yaml"), "--resume"]) == 2
    assert "--resume needs the folder of the runs to go on with: --out FOLDER" in capsys.readouterr().err
