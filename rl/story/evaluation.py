"""`interleave eval stories`: what planner and critics add to a generator, as a table and a JSON."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evals.clusters import Interval, difference, share
from evals.stories import PLANNED, Arm, Bar, EvalStory, StoryEval
from rl.story.config import StoryRecipe
from rl.story.run import prepare_story, story_stack

SCHEMA = "interleave.story_eval/1"


async def run_story_eval(
    recipe: StoryRecipe,
    stories: Sequence[EvalStory],
    critics: Mapping[str, str],
    *,
    tries: Sequence[int],
    bar: Bar,
    out: Path,
    console: Console,
) -> list[Arm]:
    """Tell all stories in every arm, by one set of actors; print the table, write the JSON, return the arms.

    `critics` are checkpoints by the names that they have in the table. Raises ValueError for a bad recipe.
    """
    (_, first), *others = critics.items()
    out.parent.mkdir(parents=True, exist_ok=True)
    recipe = replace(recipe, critic=replace(recipe.critic, kind="model", model=first))
    start = time.monotonic()
    plan = prepare_story(recipe, has_judge=True, befores=[None])
    async with story_stack(plan, [model for _, model in others]) as stack:
        console.print(f"{len(stories)} stories; actors are up after {time.monotonic() - start:.0f} s")
        storyline, judge = stack.storyteller.storyline, stack.judge
        assert storyline.critic is not None
        assert judge is not None
        trial = StoryEval(storyline, judge, stories, bar)
        arms = [await trial.generator_alone()]
        _say(console, arms[-1], start)
        arms.append(await trial.planner())
        _say(console, arms[-1], start)
        planned = arms[-1]
        for name, critic in zip(critics, [storyline.critic, *stack.more_critics], strict=True):
            for number in tries:
                once = replace(planned, name=f"{PLANNED} + {name}")
                arms.append(once if number == 1 else await trial.with_critic(name, critic, number))
                _say(console, arms[-1], start)
    comparisons = list(compared(arms))
    console.print(_table(arms))
    console.print(_comparisons(comparisons))
    data = {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "planner": recipe.planner.fn if recipe.planner.kind == "function" else recipe.planner.model,
        "critics": dict(critics),
        "bar": asdict(bar),
        "num_stories": len(stories),
        "seconds": round(time.monotonic() - start, 1),
        "arms": [_as_json(arm) for arm in arms],
        "comparisons": [{"what": what, **asdict(interval)} for what, interval in comparisons],
    }
    out.write_text(json.dumps(data, indent=1), encoding="utf-8")
    console.print(f"json    {out}")
    return arms


def compared(arms: Sequence[Arm]) -> Iterator[tuple[str, Interval]]:
    """Yield what each agent adds: planner over nothing, critics over the planner, one critic over the one before it."""
    alone, planned, *others = arms
    yield f"{planned.name} over {alone.name}", difference(alone.by_story, planned.by_story)
    for tries in sorted({arm.tries for arm in others} - {1}):
        of_critics = [arm for arm in others if arm.tries == tries]
        for arm in of_critics:
            yield f"{arm.name} over {PLANNED}, {tries} tries", difference(planned.by_story, arm.by_story)
        for first, second in pairwise(of_critics):
            name = f"{second.name} over {first.name}, {tries} tries"
            yield name, difference(first.by_story, second.by_story)


def _say(console: Console, arm: Arm, start: float) -> None:
    console.print(
        f"{arm.name}, tries {arm.tries}: {_percent(share(arm.by_story))}  after {time.monotonic() - start:.0f} s"
    )
    failed = [row for row in arm.rows if row.error]
    if failed:
        first = failed[0]
        where = f"step {first.step} of story {first.story}: {first.error}"
        console.print(f"[yellow]{len(failed)} of {len(arm.rows)} steps met an error[/]; the first, {escape(where)}")


def _table(arms: Sequence[Arm]) -> Table:
    table = Table(title="steps satisfied, intervals over stories", title_justify="left")
    for column in ("", "tries", "satisfied, %", "95 % interval", "steps", "images a step"):
        table.add_column(column, justify="right" if column else "left")
    for arm in arms:
        got, count = share(arm.by_story), len(arm.rows)
        between = f"{100 * got.low:.1f} to {100 * got.high:.1f}"
        row = (arm.name, str(arm.tries), f"{100 * got.value:.1f}", between, str(count), f"{arm.num_images / count:.2f}")
        table.add_row(*row)
    return table


def _comparisons(comparisons: Sequence[tuple[str, Interval]]) -> Table:
    table = Table(title="differences, paired by story, points of 100", title_justify="left")
    for column in ("", "difference", "95 % interval", ""):
        table.add_column(column, justify="right" if column else "left")
    for what, got in comparisons:
        between = f"{100 * got.low:+.1f} to {100 * got.high:+.1f}"
        table.add_row(what, f"{100 * got.value:+.1f}", between, "apart" if got.is_apart_from_zero else "a tie")
    return table


def _percent(got: Interval) -> str:
    return f"{100 * got.value:.1f} % ({100 * got.low:.1f} to {100 * got.high:.1f})"


def _as_json(arm: Arm) -> dict[str, object]:
    return {
        "name": arm.name,
        "tries": arm.tries,
        **asdict(share(arm.by_story)),
        "num_images": arm.num_images,
        "steps": [asdict(row) for row in arm.rows],
    }
