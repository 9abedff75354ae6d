"""A critic's verdicts on held-out tasks, and the threshold that comes of them."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from rich.console import Console

from rl.cli.main import main
from rl.story import calibration
from rl.story.calibration import judge_all, run_calibration
from rl.story.config import load_story_recipe
from rollout.text.critique import format_critique
from rollout.types import Critique, ModelAnswer
from tests.support.fakes import make_task

TASKS = [make_task(number, is_success=number % 2 == 0) for number in range(8)]
SURE = [0.99, 0.3, 0.98, 0.9, 0.97, 0.1, 0.4, 0.2]
"""Of each task's success; the fourth is wrong."""


class Critic:
    """Says what it is sure of, the first time in words that cannot be read."""

    def __init__(self):
        self.seeds = []

    async def criticise(self, shown, seed, repeat=0):
        self.seeds.append(seed)
        if repeat == 0:
            return ModelAnswer(seed, "what?")
        sure = SURE[TASKS.index(shown)]
        return ModelAnswer(seed, format_critique(Critique(sure > 0.5, "a")), success_probability=sure)


def test_every_task_is_judged_as_in_stories():
    critic = Critic()
    judged = asyncio.run(judge_all(critic, TASKS, votes=3, attempts=2))
    assert [one.probability for one in judged] == pytest.approx(SURE)
    assert [one.is_accepted for one in judged] == [sure > 0.5 for sure in SURE]
    assert [one.is_right for one in judged] == [True, False] * 4
    assert len(set(critic.seeds)) == 8 * 3 * 2
    unread = asyncio.run(judge_all(Critic(), TASKS, votes=1, attempts=1))
    assert {(one.is_accepted, one.probability) for one in unread} == {(False, 0.0)}


def test_the_calibrated_threshold_is_printed_and_written(tmp_path, monkeypatch):
    @asynccontextmanager
    async def opened(plan):
        assert plan.recipe.critic.threshold  # else no probability is looked for
        yield Critic()

    monkeypatch.setattr(calibration, "open_critic", opened)
    recipe, console = load_story_recipe("recipes/shapes_story.yaml"), Console(record=True, width=120)
    out = tmp_path / "verdicts.json"
    found = asyncio.run(run_calibration(recipe, TASKS, most=0.1, out=out, console=console))
    assert found is not None
    assert found.threshold == 0.97
    told = console.export_text()
    assert "set     critic.threshold=0.97, the lowest that accepts at most 10 % of them" in told
    assert "its one answer" in told
    assert json.loads(out.read_text())["calibrated"] == 0.97
    with pytest.raises(ValueError, match="all 4 tasks have the same label"):
        asyncio.run(run_calibration(recipe, TASKS[::2], most=0.1, out=out, console=console))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--most", "1"], "--most 1.0: expected a share from 0 to below 1"),
        (["--data", "none.jsonl"], "none.jsonl"),
        (["critic.kind=none"], "critic.kind is none: there are no verdicts to calibrate"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(arguments, message, capsys):
    assert main(["eval", "verdicts", "recipes/shapes_story.yaml", *arguments]) == 2
    assert message in capsys.readouterr().err
