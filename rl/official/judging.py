"""What a judge says of the outputs: each answer is kept by content, so that a later start pays only what is new."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from actors.judge.config import JudgeConfig
from actors.judge.judge import kind_of
from actors.judge.kinds.asked import AskedKind
from actors.judge.question import TEXT, Asker
from actors.judge.question import Question as Asked
from actors.metered.retry import CallError
from actors.run_context import RunContext
from actors.store.store import Store
from evals.official.benchmark import Benchmark, Item, Judged, Output, Picture, Question, Reading, Unreadable
from rl.official.brake import Brake
from rl.official.outputs import Say
from rollout.concurrency import all_settled
from rollout.roles import BudgetSpent
from rollout.text.marks import IMAGE_MARK, without_image_marks
from rollout.types import ImageRef

_UNANSWERED = "not answered: "


@dataclass(frozen=True, slots=True)
class Answer:
    """One question to the judge, and what came of it."""

    item: str
    key: str
    images: tuple[ImageRef, ...]
    """Of the output: an answer about other images is another one."""
    texts: tuple[str, ...] = ()
    """What the judge said, unreadable answers first."""
    reading: Reading | None = None
    fault: str = ""
    """Why there is no reading."""


@dataclass(frozen=True)
class Jury:
    """Asks a judge about outputs, many at a time."""

    benchmark: Benchmark
    prompts: Mapping[str, str]
    asker: Asker
    store: Store
    at_once: int = 64
    max_failure_share: float = 1.0
    """Of the questions, from the twentieth on, that the judge does not answer."""

    async def judge(
        self, items: Sequence[Item], outputs: Mapping[str, Output], say: Say
    ) -> tuple[list[Judged], list[Answer]]:
        """Return all items with the judge's answers, in their order. Raises `BudgetSpent` and `RunStopped`."""
        asked = [(item, question) for item in items for question in self._questions(item, outputs[item.id])]
        limit, num_done, brake = asyncio.Semaphore(self.at_once), 0, Brake(self.max_failure_share)
        say("answers", 0, len(asked))

        async def one(item: Item, question: Question) -> Answer:
            nonlocal num_done
            async with limit:
                brake.check()
                try:
                    answer = await self._answer(item, question, outputs[item.id].images)
                except BudgetSpent as error:
                    brake.pull(error)
                    raise
            num_done += 1
            brake.count("answers", answer.fault if answer.fault.startswith(_UNANSWERED) else None)
            say("answers", num_done, len(asked))
            return answer

        answers = await all_settled(one(item, question) for item, question in asked)
        by_item: dict[str, list[Answer]] = {item.id: [] for item in items}
        for answer in answers:
            by_item[answer.item].append(answer)
        return [_judged(item, outputs[item.id], by_item[item.id]) for item in items], answers

    def _questions(self, item: Item, output: Output) -> list[Question]:
        return self.benchmark.questions(item, output, self.prompts)

    async def _answer(self, item: Item, question: Question, images: tuple[ImageRef, ...]) -> Answer:
        """Ask until an answer can be read. A call that fails is a fault, and is made again by a later start."""
        texts: list[str] = []
        fault = ""
        shown = await asyncio.to_thread(rendered, question, self.store)
        for repeat in range(self.benchmark.num_asks):
            once = Asked(shown.text, shown.images, form=TEXT, size=1, repeat=repeat, system=shown.system)
            try:
                texts.append(str((await self.asker.ask(once))["text"]))
                reading = self.benchmark.read_answer(question, texts[-1])
                return Answer(item.id, question.key, images, tuple(texts), reading)
            except Unreadable as error:
                fault = f"unreadable: {error}"
            except CallError as error:
                fault = f"{_UNANSWERED}{error}"
                break
        return Answer(item.id, question.key, images, tuple(texts), fault=fault)


async def start_asker(config: JudgeConfig, context: RunContext) -> Asker:
    """Start a judge that is asked in words. Ray must be up where the judge has replicas."""
    kind = kind_of(config)
    assert isinstance(kind, AskedKind)
    asker, _ = await kind.start_asker(config, context)
    return asker


def rendered(question: Question, store: Store) -> Asked:
    """Return a question as the judge's client takes it: a text with a mark for each image. Resizes images.

    A blank line parts texts that follow each other.
    """
    pictures = [part for part in question.parts if isinstance(part, Picture)]
    text = "".join(
        IMAGE_MARK if isinstance(part, Picture) else "\n\n" * isinstance(before, str) + without_image_marks(part)
        for before, part in zip((None, *question.parts), question.parts, strict=False)
    )
    refs = tuple(_shown(picture, store) for picture in pictures)
    return Asked(text, refs, form=TEXT, size=1, system=question.system)


def _shown(picture: Picture, store: Store) -> ImageRef:
    if picture.as_large_as is None and not picture.max_side:
        return picture.ref
    image = store.get_image(picture.ref)
    if picture.as_large_as is not None:
        image = image.resize(store.get_image(picture.as_large_as).size, Image.Resampling.LANCZOS)
    if picture.max_side and max(image.size) > picture.max_side:
        image.thumbnail((picture.max_side, picture.max_side), Image.Resampling.LANCZOS)
    return store.put_image(image)


def _judged(item: Item, output: Output, answers: Sequence[Answer]) -> Judged:
    return Judged(item, output, {one.key: one.reading for one in answers}, dict(_faults(answers)))


def _faults(answers: Sequence[Answer]) -> Iterator[tuple[str, str]]:
    return ((one.key, one.fault) for one in answers if one.reading is None)
