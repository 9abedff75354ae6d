"""A run's exports as critics of stories: what is read of its folder, and what is made of it."""

import asyncio
import json
from dataclasses import replace

import pytest
from rich.console import Console

from evals.stories import ALONE, Arm, Bar, StepRow
from rl.cli.main import main
from rl.recipe.reader import to_yaml
from rl.story import checkpoint_evaluation
from rl.story.checkpoint_evaluation import exports_of, run_checkpoint_eval
from rl.story.config import load_story_recipe
from rollout.types import Group, Phase, Reward
from tests.support.fakes import make_task
from tests.support.finished_run import add_rows, finished_run


def rewarded(run, number: int, gain: float) -> Group:
    """Return a group of one task whose every sample gained as much; that it could be read does not count."""
    task, terms = make_task(number), {"format": 1.0, "semantic_gain": gain}
    of_task = [
        replace(one, task_id=task.id, evidence=replace(one.evidence, task=task), reward=Reward(terms, gain))
        for one in run.steps[1][0].valid
        if one.evidence is not None
    ]
    return Group(task, tuple(of_task))


@pytest.fixture
def run(tmp_path):
    """A run of four steps with exports at 2 and 4, evaluated on two tasks before and after and on one at 2."""
    made = finished_run(tmp_path / "run")
    (made.folder / "recipe.yaml").write_text(to_yaml(replace(made.recipe, num_steps=4)))
    for folder in ("exports/step_000001", "exports/step_000002", "export"):
        (made.folder / folder).mkdir(parents=True)
    for phase, step, gains in ((Phase.BEFORE, 0, (0.1, 0.9)), (Phase.DURING, 2, (0.2,)), (Phase.AFTER, 4, (0.3, 0.0))):
        add_rows(made.folder, [rewarded(made, 200 + at, gain) for at, gain in enumerate(gains)], step, phase)
    return made


def test_exports_are_compared_on_the_tasks_that_all_their_evaluations_have(run):
    exports = exports_of(run.folder)
    assert [(one.step, one.model) for one in exports] == [
        (0, run.recipe.policy.model),
        (2, str(run.folder / "exports/step_000002")),
        (4, str(run.folder / "export")),
    ]
    task = make_task(200).id
    assert [set(one.rewards) for one in exports] == [{task}] * 3
    assert [one.rewards[task][0] for one in exports] == pytest.approx([0.1, 0.2, 0.3])


def test_a_run_without_enough_exports_is_told_what_it_lacks(run, capsys):
    (run.folder / "export").rmdir()
    story = "recipes/shapes_story.yaml"
    assert main(["eval", "stories", story, "--checkpoints", str(run.folder)]) == 2
    assert "has 2 evaluated exports (of step 0, 2); expected 3 or more: train with keep_exports=true" in (
        capsys.readouterr().err
    )
    assert main(["eval", "stories", story, "--checkpoints", str(run.folder), "--critic", "a=b"]) == 2
    assert "expected one of them" in capsys.readouterr().err
    assert main(["eval", "stories", story, "--checkpoints", str(run.folder), "--tries", "1"]) == 2
    assert "no critic has a say with one try" in capsys.readouterr().err


def test_rewards_and_satisfied_steps_are_correlated_by_number_of_tries(run, tmp_path, monkeypatch):
    def arm(name: str, tries: int, satisfied: int) -> Arm:
        rows = (StepRow(f"{at}", 1, at < satisfied, "accepted", 1, None) for at in range(4))
        return Arm(name, tries, tuple(rows))

    async def told(recipe, stories, critics, *, tries, bar, console):
        assert list(critics) == ["step 0", "step 2", "step 4"]
        of_critics = [arm(f"planner + {name}", 3, at + 1) for at, name in enumerate(critics)]
        return [arm(ALONE, 1, 0), arm("planner", 1, 1), *of_critics], {"recipe": recipe.name, "num_stories": 4}

    monkeypatch.setattr(checkpoint_evaluation, "tell_arms", told)
    recipe, out, console = load_story_recipe("recipes/shapes_story.yaml"), tmp_path / "e.json", Console(record=True)
    asyncio.run(run_checkpoint_eval(run.folder, recipe, [], tries=[1, 3], bar=Bar(), out=out, console=console))
    found = json.loads(out.read_text())["checkpoints"]
    assert found["heldout_reward"] == pytest.approx({"step 0": 0.1, "step 2": 0.2, "step 4": 0.3})
    assert found["by_tries"]["3"]["pearson"]["value"] == pytest.approx(1.0)
    assert "Spearman, 3 tries" in console.export_text()
    assert "<td>step 2</td>" in out.with_suffix(".html").read_text()
