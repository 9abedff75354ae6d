"""Do planner and critic make better stories? Compare satisfied steps; all arms have the same stories, seeds and judge.

    generator alone     each step is drawn from the raw request and "Step i of n"
    planner             each step is drawn once, from the plan's prompt
    planner + critic    ... and again from the critic's prompt, up to a number of tries

A step is satisfied if the judge finds that its image carries out the true instruction, not the plan's, on the arm's own
previous image. A step that the plan lacks is not satisfied, nor is one that failed on the way; its row says why, so
that an outage is not mistaken for a bad agent. Images of rejected tries are judged, too (`evals.verdicts`).
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rollout.agents import FunctionPlanner
from rollout.concurrency import all_of
from rollout.roles import Critic, Judge
from rollout.story import Story, StoryStep
from rollout.storyline import Storyline
from rollout.text.marks import is_unicode, read_text, special_tokens_in
from rollout.text.plan import Plan, PlanStep
from rollout.text.strict_json import unique_keys
from rollout.types import Attempt, Request, ScoreRequest, Scores
from rollout.verdict import ONE_ANSWER

ALONE = "generator alone"
PLANNED = "planner"
AT_ONCE = 16
"""Stories told at a time."""


@dataclass(frozen=True)
class EvalStory:
    """A request, and what each of its steps must show."""

    id: str
    request: str
    instructions: tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """The scores, out of 10, from which a step is satisfied."""

    semantics: float = 7.0
    quality: float = 7.0

    def is_reached(self, scores: Scores) -> bool:
        return scores.semantics >= self.semantics and scores.quality >= self.quality


@dataclass(frozen=True)
class TryRow:
    """One try at a step: what the critic said of its image, and what the judge says."""

    is_accepted: bool | None
    """None: no verdict, since nobody was asked or no answer could be had or read."""
    is_right: bool | None
    """Whether the image reaches the bar. None: there is none."""


@dataclass(frozen=True)
class StepRow:
    """One step of one story in one arm."""

    story: str
    step: int
    """From 1."""
    is_satisfied: bool
    status: str
    """The status of the step (`rollout.story.StepStatus`), or `missing` if the plan lacks it."""
    num_tries: int
    scores: Scores | None
    """None: no image."""
    error: str | None = None
    """What failed on the way to the image: a call of planner, generator or critic, not a bad answer."""
    tries: tuple[TryRow, ...] = ()


@dataclass(frozen=True)
class Arm:
    """One way of telling stories, and its results."""

    name: str
    tries: int
    rows: tuple[StepRow, ...]
    is_oracle: bool = False
    """Told by a critic that knows what no critic can know (`evals.oracle`)."""
    leniencies: Mapping[str, int] = field(default_factory=dict)
    """How many answers differ from the contract in which way, of those that were read all the same."""

    @property
    def by_story(self) -> dict[str, list[bool]]:
        trials: dict[str, list[bool]] = {}
        for row in self.rows:
            trials.setdefault(row.story, []).append(row.is_satisfied)
        return trials

    @property
    def num_images(self) -> int:
        return sum(row.num_tries for row in self.rows)


def read_stories(path: Path) -> list[EvalStory]:
    """Read stories, one JSON object per line: id, request, instructions. Raises ValueError that names file and line."""
    stories = []
    try:
        lines = read_text(path).rstrip().split("\n")  # JSON may hold what else Python takes for an end of line
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line, object_pairs_hook=unique_keys)
            instructions = entry["instructions"]
            if not isinstance(instructions, list) or not instructions:
                raise ValueError("instructions is not a list of texts")
            if not all(map(is_unicode, map(str, (entry["id"], entry["request"], *instructions)))):
                raise ValueError("a text holds half a character (a lone surrogate), which no model reads")
            if special := special_tokens_in(str(entry["request"])):
                raise ValueError(f"the request holds {special[0]}, which models read as a control token")
            stories.append(EvalStory(str(entry["id"]), str(entry["request"]), tuple(map(str, instructions))))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: expected id, request and instructions: {error!r}") from None
    if len({story.id for story in stories}) != len(stories) or not stories:
        raise ValueError(f"{path}: {len(stories)} stories; expected some, each with its own id")
    return stories


@dataclass(frozen=True)
class StoryEval:
    """Tells the same stories in several ways."""

    storyline: Storyline
    """For its planner and generator; its critic and judge are not used."""
    judge: Judge
    stories: Sequence[EvalStory]
    bar: Bar = Bar()
    seed: int = 0

    async def generator_alone(self) -> Arm:
        """Return the arm without agents: it is given the number of steps and nothing else."""
        return await self._arm(ALONE, 1, lambda story: replace(self._bare(), planner=_raw(story)))

    async def planner(self) -> Arm:
        """Return the arm of the planner alone. With one try every critic's arm equals it: no critique would be used."""
        return await self._arm(PLANNED, 1, lambda story: self._bare())

    async def with_critic(self, name: str, critic: Critic, tries: int) -> Arm:
        """Return the arm of planner and critic, with at most `tries` tries per step."""
        line = replace(self._bare(), critic=critic, tries=tries)
        return await self._arm(f"{PLANNED} + {name}", tries, lambda story: line)

    async def with_oracle(self, name: str, critic_of: Callable[[EvalStory], Critic], tries: int) -> Arm:
        """Return the arm of a critic that knows each story; its first answer that can be read is its verdict."""
        line = replace(self._bare(), tries=tries, rule=ONE_ANSWER)
        arm = await self._arm(f"{PLANNED} + {name}", tries, lambda story: replace(line, critic=critic_of(story)))
        return replace(arm, is_oracle=True)

    def _bare(self) -> Storyline:
        return replace(self.storyline, critic=None, judge=None, tries=1)

    async def _arm(self, name: str, tries: int, line_for: Callable[[EvalStory], Storyline]) -> Arm:
        limit = asyncio.Semaphore(AT_ONCE)

        async def told(story: EvalStory) -> tuple[list[StepRow], Counter[str]]:
            async with limit:
                made = await line_for(story).tell(Request(story.request, seed=self.seed).checked())
                rows = await all_of(self._row(story, made, index) for index in range(len(story.instructions)))
                return rows, made.leniencies

        stories = await all_of(told(story) for story in self.stories)
        leniencies = sum((found for _, found in stories), Counter[str]())
        return Arm(name, tries, tuple(row for rows, _ in stories for row in rows), leniencies=leniencies)

    async def _row(self, story: EvalStory, made: Story, index: int) -> StepRow:
        if index >= len(made.steps):
            return StepRow(story.id, index + 1, False, "missing", 0, None, made.error)
        step, instruction = made.steps[index], story.instructions[index]
        judged = await all_of(self._judged(attempt, instruction) for attempt in step.tries)
        scores = None if step.chosen is None else judged[step.chosen - 1]
        tries = tuple(map(self._try, step.tries, judged))
        is_satisfied = scores is not None and self.bar.is_reached(scores)
        status, num_tries = str(step.status), len(step.tries)
        return StepRow(story.id, index + 1, is_satisfied, status, num_tries, scores, _error(made, step), tries)

    async def _judged(self, attempt: Attempt, instruction: str) -> Scores | None:
        if attempt.image is None:
            return None
        # A failing judge ends the evaluation: an image without a judgement is neither right nor wrong.
        return await self.judge.score(ScoreRequest(attempt.before, attempt.image, instruction))

    def _try(self, attempt: Attempt, scores: Scores | None) -> TryRow:
        is_accepted = None if attempt.critique is None else attempt.is_accepted
        return TryRow(is_accepted, None if scores is None else self.bar.is_reached(scores))


def _error(made: Story, step: StoryStep) -> str | None:
    """Return what failed in a step, if anything; an unreadable critic's answer counts."""
    if not step.tries:
        return made.error
    return next((attempt.failure.error for attempt in step.tries if attempt.failure is not None), None)


def _raw(story: EvalStory) -> FunctionPlanner:
    """Return the planner that only numbers the steps. Numbers come first: a generator may truncate a long prompt."""
    count = len(story.instructions)
    prompts = [f"Step {number} of {count}: {story.request}" for number in range(1, count + 1)]
    steps = tuple(PlanStep(number, f"Step {number}", prompt, prompt) for number, prompt in enumerate(prompts, 1))
    return FunctionPlanner(lambda text, num_images: Plan(steps))
