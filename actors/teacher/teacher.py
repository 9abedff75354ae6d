"""Teachers of planner and critic, for building data: functions, user-defined classes, or models paid per question."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.judge.openai_asker import OpenAIAsker
from actors.judge.prompt_file import Prompt, read_prompt
from actors.judge.question import TEXT, Question
from actors.metered.retry import CallError
from actors.run_context import RunContext
from actors.store.store import Store, load_images, white_canvas
from actors.teacher.config import TeacherConfig
from actors.teacher.kind import kind_of
from actors.user_classes.classes import call
from actors.user_classes.replica import read_image
from actors.user_classes.roles import CritiqueQuestion, PlanQuestion
from rewards.compose import said
from rollout.roles import Critic, Planner, TeacherError
from rollout.text.critique import NUM_IMAGES, format_critique, render_messages
from rollout.text.foreign import error_text
from rollout.text.messages import Message, as_texts
from rollout.text.plan import Plan, format_plan, render_request
from rollout.types import CriticInput, Critique, ImageRef, ModelAnswer, Request


@dataclass(frozen=True)
class FunctionTeacher:
    """Satisfies `rollout.roles.Planner` and `Critic`: calls a function in a thread."""

    function: Callable[..., str | Plan | Critique]
    store: Store

    async def plan(self, request: Request, seed: int, repeat: int = 0) -> ModelAnswer:
        """Return the function's answer to a request. Raises `TeacherError`."""
        return await asyncio.to_thread(
            self._answer,
            seed,
            lambda: (request.text, [self.store.get_image(image) for image in request.images], seed),
        )

    async def criticise(self, shown: CriticInput, seed: int, repeat: int = 0) -> ModelAnswer:
        """Return the function's answer to an attempt; the seed tells repeats apart. Raises `TeacherError`."""
        return await asyncio.to_thread(
            self._answer,
            seed,
            lambda: (
                None if shown.before is None else self.store.get_image(shown.before),
                self.store.get_image(shown.after),
                shown.instruction,
                shown.prompt,
                seed,
            ),
        )

    async def stats(self) -> dict[str, float]:
        """A function costs nothing."""
        return {}

    def _answer(self, seed: int, arguments: Callable[[], tuple[object, ...]]) -> ModelAnswer:
        try:
            return ModelAnswer(seed, _as_text(self.function(*arguments())))
        except TeacherError:
            raise
        except Exception as error:
            raise TeacherError(f"{type(error).__name__}: {error_text(error)}") from error


@dataclass(frozen=True)
class OwnTeacher:
    """Satisfies the same Protocols: asks a user-defined object (`actors.user_classes.roles.UserTeacher`)."""

    teacher: Any
    store: Store

    async def plan(self, request: Request, seed: int, repeat: int = 0) -> ModelAnswer:
        """Return the object's answer to a request. Raises `TeacherError`."""
        read = [await read_image(self.store, image) for image in request.images]
        images = [image for image in read if image is not None]
        return await self._answer(self.teacher.plan, PlanQuestion(request.text, images), seed)

    async def criticise(self, shown: CriticInput, seed: int, repeat: int = 0) -> ModelAnswer:
        """Return the object's answer to an attempt; the seed tells repeats apart. Raises `TeacherError`."""
        before, after = [await read_image(self.store, image) for image in (shown.before, shown.after)]
        assert after is not None
        question = CritiqueQuestion(before, after, shown.instruction, shown.prompt)
        return await self._answer(self.teacher.criticise, question, seed)

    async def stats(self) -> dict[str, float]:
        """Only the user knows its cost."""
        return {}

    async def _answer(self, method: Any, question: object, seed: int) -> ModelAnswer:
        name = type(self.teacher).__name__
        try:
            return ModelAnswer(seed, _as_text(await call(method, question, seed), f"{name}.{method.__name__}"))
        except TeacherError:
            raise
        except Exception as error:
            raise TeacherError(f"{type(error).__name__}: {name}: {said(error)}") from error


def _as_text(answer: object, who: str = "a teacher's function") -> str:
    if isinstance(answer, Plan):
        return format_plan(answer)
    if isinstance(answer, Critique):
        return format_critique(answer)
    if not isinstance(answer, str):
        raise TeacherError(f"{who} returned a {type(answer).__name__}, expected a text")
    return answer


@dataclass(frozen=True)
class AskedTeacher:
    """Satisfies the same Protocols: asks a model, each distinct question once. Seeds are left to the endpoint."""

    asker: OpenAIAsker
    template: str
    store: Store

    async def plan(self, request: Request, seed: int, repeat: int = 0) -> ModelAnswer:
        """Return the model's answer to a request. Raises `TeacherError`, `BudgetSpent`."""
        messages = render_request(self.template, request.text, len(request.images))
        return await self._ask(messages, request.images, seed, repeat)

    async def criticise(self, shown: CriticInput, seed: int, repeat: int = 0) -> ModelAnswer:
        """Return the model's answer to an attempt. Raises `TeacherError`, `BudgetSpent`."""
        before = shown.before
        if before is None:
            before = await asyncio.to_thread(self._canvas, shown.after)
        return await self._ask(render_messages(self.template, shown), (before, shown.after), seed, repeat)

    async def stats(self) -> dict[str, float]:
        """Return the teacher's bill."""
        return await self.asker.stats()

    def _canvas(self, like: ImageRef) -> ImageRef:
        return self.store.put_image(white_canvas(*load_images(self.store, (like,))))

    async def _ask(
        self, messages: tuple[Message, ...], images: tuple[ImageRef, ...], seed: int, repeat: int
    ) -> ModelAnswer:
        *system, user = as_texts(messages)
        said = system[0]["content"] if system else ""
        question = Question(user["content"], images, form=TEXT, size=1, repeat=repeat, system=said)
        try:
            return ModelAnswer(seed, str((await self.asker.ask(question))["text"]))
        except CallError as error:
            raise TeacherError(str(error)) from error


async def start_teacher(
    config: TeacherConfig, role: str, store_root: Path | str, ledger_folder: Path | str | None = None
) -> Planner | Critic:
    """Start a teacher for a role (planner or critic), its name in metrics and ledger too. Raises ValueError."""
    check_teacher(config, role)
    context = RunContext(store_root, role, ledger_folder, area=role)
    return await kind_of(config).start(config, context, read_template(config, role).text)


def read_template(config: TeacherConfig, role: str) -> Prompt:
    """Read a teacher's prompt file. Raises ValueError if it does not fit the role."""
    if role == "planner":
        return read_prompt(config.prompt, fields=("request",))
    return read_prompt(config.prompt, fields=("instruction", "prompt"), num_images=NUM_IMAGES)


def check_teacher(config: TeacherConfig, role: str) -> None:
    """Raise ValueError for what a teacher lacks: a prompt file, a function, a model, a key. Starts nothing."""
    describe_teacher(config, role)
    kind_of(config).check(config, role)


def describe_teacher(config: TeacherConfig, role: str) -> dict[str, str]:
    """Return what a teacher's answers depend on, by content. Raises ValueError if a file or function is missing."""
    prompt = read_template(config, role).label
    return kind_of(config).describe(config, role) | {"prompt": prompt}
