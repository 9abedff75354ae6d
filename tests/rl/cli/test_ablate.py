"""The command, on trainings and evaluations that only leave what they leave."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rl.cli import main as cli
from rl.recipe.reader import to_yaml
from rollout.roles import BudgetSpent, RunStopped
from tests.support.ablations import SHAPES

VARIANTS = "variants=[{name: full, seeds: [0, 1]}, {name: no_step, overrides: [reward=no_step]}]"
CRITICS = ["full-seed0", "no_step-seed0", "full-seed1"]


@pytest.fixture
def ablate(tmp_path, monkeypatch):
    """Return the command, for parts that end as told; beside it, what was prepared, trained and told."""
    ends, seen = {}, SimpleNamespace(checked=[], trained=[], told=[], is_checking=True)

    def prepare(recipe, *, is_resumed, accepted):
        name = Path(recipe.run_dir).name
        if "bad" in ends:
            raise ValueError("policy.model is not there")
        seen.checked.append((name, is_resumed))
        seen.accepted = accepted
        return recipe

    async def run(recipe, console):
        seen.trained.append(Path(recipe.run_dir).name)
        (Path(recipe.run_dir) / "recipe.yaml").write_text(to_yaml(recipe))
        if isinstance(end := ends.get(Path(recipe.run_dir).name), BaseException):
            raise end

    async def run_story_eval(recipe, stories, critics, *, tries, bar, out, console):
        ((name, model),) = critics.items()
        seen.told.append((name, model, len(stories), bar.semantics))
        rows = [{"story": story.id, "is_satisfied": True, "error": None} for story in stories]
        names = [("generator alone", 1), ("planner", 1), *((f"planner + {name}", number) for number in tries)]
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"arms": [{"name": name, "tries": of, "steps": rows} for name, of in names]}))

    monkeypatch.setitem(sys.modules, "rl.prepare", SimpleNamespace(prepare=prepare))
    monkeypatch.setitem(sys.modules, "rl.run", SimpleNamespace(run=run))
    monkeypatch.setitem(sys.modules, "rl.story.evaluation", SimpleNamespace(run_story_eval=run_story_eval))
    monkeypatch.setitem(sys.modules, "rl.story.run", SimpleNamespace(prepare_story=lambda recipe, **options: None))

    monkeypatch.setattr("rl.ablation.page.draw", lambda table: {"svg": b"<svg/>", "png": b""})  # half a second each

    def command(*arguments, **told):
        ends.clear()
        ends.update({name.replace("__", "-"): end for name, end in told.items()})
        seen.checked, seen.trained, seen.told = [], [], []
        return cli.main(["ablate", str(SHAPES), VARIANTS, "stories.num=7", "--out", str(tmp_path / "out"), *arguments])

    return command, seen


@pytest.mark.slow
def test_variants_are_trained_told_and_shown(ablate, tmp_path, capsys):
    """Slow: seconds of computing."""
    command, seen = ablate
    assert command() == 0
    assert seen.trained == CRITICS
    exports = {critic: str(tmp_path / "out" / "runs" / critic / "export") for critic in CRITICS}
    critics = {"sft": "recipes/shapes/weights/critic", **exports}
    assert seen.told == [(critic, model, 7, 9.0) for critic, model in critics.items()]
    told = capsys.readouterr().out
    assert "part 7 of 7  stories full-seed1" in told
    assert "full over no_step" in told
    assert "a tie" in told
    assert (tmp_path / "out" / "index.html").is_file()
    assert command() == 0
    assert (seen.checked, seen.trained, seen.told) == ([], [], [])
    assert "full over no_step" in capsys.readouterr().out


def test_a_training_of_every_variant_is_checked_before_the_first_starts(ablate, tmp_path, capsys):
    command, seen = ablate
    assert command(bad=True) == 2
    assert "variant full: policy.model is not there" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert command() == 0
    assert seen.checked[:2] == [("full-seed0", False), ("no_step-seed0", False)]


@pytest.mark.slow
def test_a_killed_training_goes_on_from_where_it_was(ablate, capsys):
    """Slow: seconds of computing."""
    command, seen = ablate
    assert command(full__seed1=KeyboardInterrupt()) == 130
    assert "interrupted; go on with the same command" in capsys.readouterr().err
    assert command("--accept-changed", "judge.model") == 0
    assert seen.accepted == ["judge.model"]
    assert seen.trained == ["full-seed1"]
    assert seen.checked == [("full-seed1", True)] * 2
    assert [critic for critic, *_ in seen.told] == ["full-seed1"]


@pytest.mark.slow
def test_a_training_that_stops_is_told_and_the_rest_goes_on(ablate, capsys):
    """Slow: seconds of computing."""
    command, seen = ablate
    assert command(no_step__seed0=RunStopped("the judge is down")) == 1
    assert seen.trained == CRITICS
    assert "no_step-seed0 stopped: the judge is down" in capsys.readouterr().out
    assert command(no_step__seed0=BudgetSpent("all is paid")) == 3


def test_a_dry_run_says_what_is_left_and_starts_nothing(ablate, tmp_path, capsys):
    command, seen = ablate
    assert command("--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-8:] == [
        "left  stories sft",
        *(f"left  {kind} {critic}" for critic in CRITICS for kind in ("train", "stories")),
        "7 parts left",
    ]
    assert (seen.trained, (tmp_path / "out").exists()) == ([], False)


@pytest.mark.slow
def test_a_folder_of_another_ablation_is_refused(ablate, capsys):
    """Slow: seconds of computing."""
    command, _ = ablate
    assert command() == 0
    assert command("stories.num=8") == 2
    assert "belongs to an ablation with a different stories.num (was 7, now 8); put it back" in capsys.readouterr().err


def test_what_is_wrong_is_told_in_one_line(ablate, capsys):
    command, _ = ablate
    assert command("variants.1.overrides=[rollout.m=3]") == 2
    assert "variant no_step: command line: unknown key rollout.m" in capsys.readouterr().err
    assert command("--quick", "quick.seeds=[3]") == 2
    assert "quick.seeds is [3], none of them in" in capsys.readouterr().err
