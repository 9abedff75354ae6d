"""`interleave eval verdicts`: how a critic judges held-out tasks, and which threshold would let few errors pass."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from evals.calibration import Judged, Operating, calibrated, operating
from evals.clusters import Interval
from rl.atomic_write import atomic_write
from rl.story.config import StoryRecipe
from rl.story.eval_tables import Sheet, for_terminal
from rl.story.run import open_critic, prepare_story
from rollout.concurrency import all_of
from rollout.roles import Critic
from rollout.stages import StageTimer
from rollout.text.readers import CONTRACT, READERS, AnswerReader
from rollout.text.seeds import seed_of
from rollout.types import Task
from rollout.verdict import VerdictRule, agreed, ask_for_votes, probability_of

SCHEMA = "interleave.verdict_eval/1"
_THRESHOLDS = (0.5, 0.7, 0.9, 0.95, 0.99)
_AT_ONCE = 64
"""Tasks judged at a time."""


async def run_calibration(
    recipe: StoryRecipe, tasks: Sequence[Task], *, most: float, out: Path, console: Console
) -> Operating | None:
    """Judge all tasks as stories do; print and write how thresholds do; return the one that is calibrated.

    `most` is the share of wrong images that may be accepted. Raises ValueError for a bad recipe, or tasks of one kind.
    """
    recipe = replace(recipe, critic=replace(recipe.critic, threshold=recipe.critic.threshold or 1.0))
    if recipe.critic.kind != "model":
        raise ValueError("critic.kind is none: there are no verdicts to calibrate; set critic.model")
    if len({task.is_success for task in tasks}) < 2:
        raise ValueError(f"all {len(tasks)} tasks have the same label; expected successful and failed ones")
    async with open_critic(prepare_story(recipe)) as critic:
        console.print(
            f"asking {escape(recipe.critic.model)} about {len(tasks)} tasks, {recipe.critic.votes} times each"
        )
        judged = await judge_all(
            critic, tasks, recipe.critic.votes, recipe.critic.num_attempts, READERS[recipe.answers]
        )
    rules = [operating(judged, threshold) for threshold in (0.0, *_THRESHOLDS)]
    found = calibrated(judged, most)
    console.print(for_terminal(_table([*rules, found] if found else rules, recipe.critic.votes)))
    console.print(_advice(found, most))
    data = {
        "schema": SCHEMA,
        "critic": {name: getattr(recipe.critic, name) for name in ("model", "temperature", "votes", "sure_by")},
        "most": most,
        "calibrated": found and found.threshold,
        "rules": [asdict(rule) for rule in rules],
        "tasks": [asdict(one) for one in judged],
    }
    atomic_write(out, json.dumps(data, indent=1))
    console.print(escape(f"json    {out}"))
    return found


async def judge_all(
    critic: Critic, tasks: Sequence[Task], votes: int, attempts: int, answers: AnswerReader = CONTRACT
) -> list[Judged]:
    """Return what a critic makes of each task's image; a failing call or an unreadable answer accepts nothing."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def judge(task: Task) -> Judged:
        seeds = [seed_of("calibration", task.id, attempt) for attempt in range(attempts)]
        async with limit:
            cast, _ = await ask_for_votes(
                lambda seed, repeat: critic.criticise(task, seed, repeat),
                lambda text: answers.critique(text, task.prompt),
                seeds,
                StageTimer(),
                votes,
            )
        critique = agreed(cast, VerdictRule(votes))
        is_accepted = critique is not None and critique.is_success
        return Judged(task.id, task.is_success, is_accepted, probability_of(cast, votes))

    return await all_of(map(judge, tasks))


def _table(rules: Sequence[Operating], votes: int) -> Sheet:
    majority = "its one answer" if votes == 1 else f"most of {votes} answers"
    rows = [
        (
            f"at least {rule.threshold:.4g}" if rule.threshold else majority,
            *_percent(rule.false_accepts),
            *_percent(rule.right_accepts),
            f"{100 * rule.balanced_accuracy:.1f}",
        )
        for rule in rules
    ]
    columns = ("accepted by", "wrong images, %", "95 % interval", "right images, %", "95 % interval", "balanced, %")
    return Sheet("images accepted, by rule", columns, rows)


def _percent(got: Interval) -> tuple[str, str]:
    return f"{100 * got.value:.1f}", f"{100 * got.low:.1f} to {100 * got.high:.1f}"


def _advice(found: Operating | None, most: float) -> str:
    if found is None:
        return f"no threshold accepts at most {100 * most:g} % of the wrong images; ask for more critic.votes"
    return f"set     critic.threshold={found.threshold!r}, the lowest that accepts at most {100 * most:g} % of them"
