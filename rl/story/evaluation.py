"""`interleave eval stories`: what planner and critics add to a generator, as tables, a JSON and a page."""

import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import jinja2
from rich.console import Console
from rich.markup import escape

from evals.clusters import Interval, difference, share
from evals.oracle import PERFECT_CRITIC, PERFECT_VERDICT, PerfectVerdict, Rephrase, Rephraser
from evals.stories import PLANNED, Arm, Bar, EvalStory, StoryEval
from evals.verdicts import verdicts_of
from rewards.compose import why_not_loaded
from rewards.functions.import_path import load_function
from rl.atomic_write import atomic_write
from rl.story.config import OracleConfig, StoryRecipe
from rl.story.eval_tables import Comparisons, Sheet, for_terminal, sheets_of
from rl.story.run import prepare_story, story_stack
from rollout.roles import Critic
from rollout.text.readers import told

SCHEMA = "interleave.story_eval/1"
_TOLD = ("planner", "critics", "critic", "bar")
"""What the page says of how it was made."""


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
    """Tell all stories in every arm; print the tables, write JSON and page, return the arms.

    `critics` are checkpoints by the names that they have in the tables. Raises ValueError for a bad recipe.
    """
    arms, about = await tell_arms(recipe, stories, critics, tries=tries, bar=bar, console=console)
    report(arms, list(compared(arms)), about, out, console)
    return arms


async def tell_arms(
    recipe: StoryRecipe,
    stories: Sequence[EvalStory],
    critics: Mapping[str, str],
    *,
    tries: Sequence[int],
    bar: Bar,
    console: Console,
) -> tuple[list[Arm], dict[str, object]]:
    """Tell all stories in every arm, by one set of actors; return the arms, and what they were told with."""
    (_, first), *others = critics.items()
    recipe = replace(recipe, critic=replace(recipe.critic, kind="model", model=first))
    rephrase = _rephrase(recipe.oracle)
    start = time.monotonic()
    plan = prepare_story(recipe, has_judge=True, befores=[None])
    async with story_stack(plan, [model for _, model in others]) as stack:
        console.print(f"{len(stories)} stories; actors are up after {time.monotonic() - start:.0f} s")
        storyline, judge = stack.storyteller.storyline, stack.judge
        assert storyline.critic is not None
        assert judge is not None
        named = dict(zip(critics, [storyline.critic, *stack.more_critics], strict=True))
        arms = []
        knowing = _knowing(named, rephrase) if recipe.oracle.is_measured else {}
        async for arm in _arms(StoryEval(storyline, judge, stories, bar), named, knowing, tries):
            _say(console, arm, start)
            arms.append(arm)
    about = {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "planner": recipe.planner.fn if recipe.planner.kind == "function" else recipe.planner.model,
        "critics": dict(critics),
        "critic": {name: getattr(recipe.critic, name) for name in ("temperature", "votes", "threshold", "sure_by")},
        "bar": asdict(bar),
        "num_stories": len(stories),
        "seconds": round(time.monotonic() - start, 1),
    }
    return arms, about


async def _arms(
    trial: StoryEval, critics: Mapping[str, Critic], knowing: Mapping[str, Critic], tries: Sequence[int]
) -> AsyncIterator[Arm]:
    yield await trial.generator_alone()
    planned = await trial.planner()
    yield planned
    for name, critic in critics.items():
        for number in tries:
            once = replace(planned, name=f"{PLANNED} + {name}")
            yield once if number == 1 else await trial.with_critic(name, critic, number)
    for name, critic in knowing.items():
        for number in tries:
            if number > 1:
                yield await trial.with_oracle(name, partial(PerfectVerdict, critic, trial.judge, trial.bar), number)


def _rephrase(config: OracleConfig) -> Rephrase | None:
    if not config.is_measured or not config.fn:
        return None
    try:
        return load_function(config.fn)
    except Exception as error:
        raise ValueError(f"oracle.fn is {config.fn!r}: {why_not_loaded(error)}") from error


def _knowing(critics: Mapping[str, Critic], rephrase: Rephrase | None) -> dict[str, Critic]:
    """Return who says the prompts where verdicts are perfect."""
    judged: dict[str, Critic] = {f"{name}, {PERFECT_VERDICT}": critic for name, critic in critics.items()}
    return judged | ({PERFECT_CRITIC: Rephraser(rephrase)} if rephrase else {})


def report(
    arms: Sequence[Arm],
    comparisons: Comparisons,
    about: Mapping[str, object],
    out: Path,
    console: Console,
    more: Sequence[Sheet] = (),
) -> None:
    """Print the tables, and `more` of them, write the JSON, and beside it the page."""
    sheets, page = [*sheets_of(arms, comparisons), *more], out.with_suffix(".html")
    for sheet in sheets:
        console.print(for_terminal(sheet))
    data = {
        **about,
        "arms": [_as_json(arm) for arm in arms],
        "comparisons": [{"what": what, **asdict(interval)} for what, interval in comparisons],
    }
    atomic_write(out, json.dumps(data, indent=1))
    atomic_write(page, _page(sheets, about))
    console.print(escape(f"json    {out}\npage    {page}"))


def compared(arms: Sequence[Arm]) -> Iterator[tuple[str, Interval]]:
    """Yield what each agent adds: planner over nothing, critics over the planner, one critic over the one before it.

    And what a critic's further tries add, and what is left to a perfect critic.
    """
    alone, planned, *others = [arm for arm in arms if not arm.is_oracle]
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
    for arm, best in product(others, (arm for arm in arms if arm.is_oracle)):
        if arm.tries == best.tries and best.name in (f"{arm.name}, {PERFECT_VERDICT}", f"{PLANNED} + {PERFECT_CRITIC}"):
            yield f"{best.name} over {arm.name}, {arm.tries} tries", difference(arm.by_story, best.by_story)


def _say(console: Console, arm: Arm, start: float) -> None:
    got = share(arm.by_story)
    percent = f"{100 * got.value:.1f} % ({100 * got.low:.1f} to {100 * got.high:.1f})"
    console.print(f"{escape(arm.name)}, tries {arm.tries}: {percent}  after {time.monotonic() - start:.0f} s")
    if arm.leniencies:
        console.print(f"[yellow]read leniently[/]  {told(arm.leniencies)}")
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
    told = "; ".join(f"{name}: {value}" for name, value in about.items() if name in _TOLD)
    return environment.get_template("eval_page.html.j2").render(title=title, about=told, sheets=sheets)


def _as_json(arm: Arm) -> dict[str, object]:
    return {
        "name": arm.name,
        "tries": arm.tries,
        "is_oracle": arm.is_oracle,
        **asdict(share(arm.by_story)),
        "num_images": arm.num_images,
        "verdicts": asdict(verdicts_of(arm)) if arm.tries > 1 else None,
        **({"leniencies": dict(arm.leniencies)} if arm.leniencies else {}),
        "steps": [asdict(row) for row in arm.rows],
    }
