"""`interleave eval stories`: what planner and critics add to a generator, as tables, a JSON and a page."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import jinja2
from rich.console import Console
from rich.markup import escape

from evals.clusters import Interval, difference, share
from evals.stories import PLANNED, Arm, Bar, EvalStory, StoryEval
from evals.verdicts import verdicts_of
from rl.atomic_write import atomic_write
from rl.story.config import StoryRecipe
from rl.story.eval_tables import Comparisons, Sheet, for_terminal, sheets_of
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
    """Tell all stories in every arm, by one set of actors; print the tables, write JSON and page, return the arms.

    `critics` are checkpoints by the names that they have in the tables. Raises ValueError for a bad recipe.
    """
    if out.suffix == ".html":
        raise ValueError(f"--out {out}: expected a name for the JSON; the page gets the same with .html")
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
    about = {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "planner": recipe.planner.fn if recipe.planner.kind == "function" else recipe.planner.model,
        "critics": dict(critics),
        "bar": asdict(bar),
        "num_stories": len(stories),
        "seconds": round(time.monotonic() - start, 1),
    }
    report(arms, list(compared(arms)), about, out, console)
    return arms


def report(
    arms: Sequence[Arm], comparisons: Comparisons, about: Mapping[str, object], out: Path, console: Console
) -> None:
    """Print the tables, write the JSON, and beside it the page."""
    sheets, page = sheets_of(arms, comparisons), out.with_suffix(".html")
    for sheet in sheets:
        console.print(for_terminal(sheet))
    data = {
        **about,
        "arms": [_as_json(arm) for arm in arms],
        "comparisons": [{"what": what, **asdict(interval)} for what, interval in comparisons],
    }
    atomic_write(out, json.dumps(data, indent=1))
    atomic_write(page, _page(sheets, about))
    console.print(f"json    {out}\npage    {page}")


def compared(arms: Sequence[Arm]) -> Iterator[tuple[str, Interval]]:
    """Yield what each agent adds: planner over nothing, critics over the planner, one critic over the one before it.

    And what a critic's further tries add.
    """
    alone, planned, *others = arms
    yield f"{planned.name} over {alone.name}", difference(alone.by_story, planned.by_story)
    for tries in sorted({arm.tries for arm in others} - {1}):
        of_critics = [arm for arm in others if arm.tries == tries]
        for arm in of_critics:
            yield f"{arm.name} over {PLANNED}, {tries} tries", difference(planned.by_story, arm.by_story)
        for first, second in pairwise(of_critics):
            name = f"{second.name} over {first.name}, {tries} tries"
            yield name, difference(first.by_story, second.by_story)
    for fewer, more in pairwise(arm for arm in others if arm.tries > 1):
        if fewer.name == more.name:
            name = f"{more.name}, {more.tries} tries over {fewer.tries}"
            yield name, difference(fewer.by_story, more.by_story)


def _say(console: Console, arm: Arm, start: float) -> None:
    got = share(arm.by_story)
    percent = f"{100 * got.value:.1f} % ({100 * got.low:.1f} to {100 * got.high:.1f})"
    console.print(f"{arm.name}, tries {arm.tries}: {percent}  after {time.monotonic() - start:.0f} s")
    failed = [row for row in arm.rows if row.error]
    if failed:
        first = failed[0]
        where = f"step {first.step} of story {first.story}: {first.error}"
        console.print(f"[yellow]{len(failed)} of {len(arm.rows)} steps met an error[/]; the first, {escape(where)}")


def _page(sheets: Sequence[Sheet], about: Mapping[str, object]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    title = f"{about['recipe']}: {about['num_stories']} stories"
    told = "; ".join(f"{name}: {value}" for name, value in about.items() if name in ("planner", "critics", "bar"))
    return environment.get_template("eval_page.html.j2").render(title=title, about=told, sheets=sheets)


def _as_json(arm: Arm) -> dict[str, object]:
    return {
        "name": arm.name,
        "tries": arm.tries,
        **asdict(share(arm.by_story)),
        "num_images": arm.num_images,
        "verdicts": asdict(verdicts_of(arm)) if arm.tries > 1 else None,
        "steps": [asdict(row) for row in arm.rows],
    }
