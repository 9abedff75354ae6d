"""What TRL's reward function does: answers are read, edits made and judged, and the recipe's terms summed, as in ours.

Equal edits of a step are made and judged once, as in ours.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from actors.generator.kind import resolve
from actors.generator.pipeline import Pipeline
from actors.generator.replica import kind_of
from actors.store.store import Store
from actors.user_classes.roles import Edit, Look
from benchmarks.peer.standins import StandInGenerator, StandInJudge
from rewards.compose import WeightedSum
from rewards.functions.import_path import load_function
from rl.recipe.config import Recipe
from rl.recipe.paths import placed_generator
from rollout.single_step import Regenerate
from rollout.text.critique import CritiqueError, parse_critique
from rollout.text.seeds import seed_of
from rollout.types import EditRequest, Evidence, Response, Scores, Task


@dataclass(frozen=True)
class Answer:
    """What the critic said about a task, and the edit that it asks for, if it is tried out."""

    evidence: Evidence
    edit: EditRequest | None

    @property
    def look(self) -> tuple[EditRequest, str] | None:
        """What is judged: equal ones are judged once."""
        return None if self.edit is None else (self.edit, self.evidence.task.instruction)


class RewardOfRecipe:
    """Reads answers, and sums the terms once their edits are judged."""

    def __init__(self, recipe: Recipe):
        self._seed = recipe.seed
        self._sum = WeightedSum(recipe.reward.terms)
        self._regenerate = Regenerate(recipe.rollout.regenerate)

    def read(self, task: Task, text: str) -> Answer:
        response = Response((), (), text, (), 0)
        try:
            critique = parse_critique(text)
        except CritiqueError as error:
            return Answer(Evidence(task, response, None, parse_error=error.kind), None)
        evidence = Evidence(task, response, critique)
        if not self._regenerate.applies(task, critique):
            return Answer(evidence, None)
        return Answer(evidence, EditRequest(task.before, critique.refine_prompt, seed_of(self._seed, "edit", task.id)))

    def total(self, answer: Answer, scores: Mapping[tuple[EditRequest, str], Scores]) -> float:
        judged = None if answer.look is None else scores[answer.look]
        return self._sum(replace(answer.evidence, scores=judged)).total


class InProcess:
    """Part (a): the recipe's generator, in batches as large as ours has them, and its judge, one after the other."""

    def __init__(self, recipe: Recipe):
        self._config = resolve(placed_generator(recipe.generator))
        self._pipeline = Pipeline(self._config)
        self._pipeline.warm_up()
        self._score = load_function(recipe.judge.scorer)
        self._store = Store(recipe.store)

    def __call__(self, answers: Sequence[Answer]) -> dict[tuple[EditRequest, str], Scores]:
        """Return the scores of each edit under its instruction."""
        looks = unique_looks(answers)
        made: dict[EditRequest, Image.Image] = {}
        for batch in batches([edit for edit, _ in looks], self._config.max_batch_size):
            made |= zip(batch, self._pipeline.draw(self._images(batch[0]), None, batch), strict=True)
        return {
            (edit, instruction): self._score(next(iter(self._images(edit)), None), made[edit], instruction)
            for edit, instruction in looks
        }

    def _images(self, edit: EditRequest) -> list[Image.Image]:
        return [] if edit.image is None else [self._store.get_image(edit.image)]


class Waiting:
    """Part (b): the stand-ins, all asked at once."""

    def __init__(self) -> None:
        self._generator, self._judge = StandInGenerator(), StandInJudge()

    async def __call__(self, answers: Sequence[Answer]) -> dict[tuple[EditRequest, str], Scores]:
        """Return the scores of each edit under its instruction."""
        looks = unique_looks(answers)
        return dict(zip(looks, await asyncio.gather(*(self._one(*look) for look in looks)), strict=True))

    async def _one(self, edit: EditRequest, instruction: str) -> Scores:
        image = await self._generator.edit(Edit((), edit.prompt, edit.seed))
        return await self._judge.score(Look(None, image, instruction))


def unique_looks(answers: Sequence[Answer]) -> list[tuple[EditRequest, str]]:
    return list(dict.fromkeys(answer.look for answer in answers if answer.look is not None))


def batches(edits: Sequence[EditRequest], size: int) -> Iterator[list[EditRequest]]:
    """Yield the edits in batches of those that may share one, each edit once."""
    kinds = defaultdict(list)
    for edit in dict.fromkeys(edits):
        kinds[kind_of(edit)].append(edit)
    for kind in kinds.values():
        for start in range(0, len(kind), size):
            yield kind[start : start + size]
