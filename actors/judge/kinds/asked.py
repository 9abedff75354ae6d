"""What the kinds of judge that ask a model have in common: prompts and a rubric, whichever model answers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import fields
from typing import TYPE_CHECKING

from actors.judge.config import JudgeConfig
from actors.judge.judge import JudgeKind
from actors.judge.prompts import ChecklistPrompts, prompts_of
from actors.metered.call_arguments import check_chat_call
from actors.run_context import RunContext
from rollout.roles import Judge

if TYPE_CHECKING:
    from actors.judge.openai_asker import OpenAIAsker
    from actors.servers.servers import Server


class AskedKind(JudgeKind):
    """A model answers; `judge.rubric` says to what."""

    is_asked = True

    @abstractmethod
    def model_label(self, config: JudgeConfig) -> str:
        """Return what the model is known by. Raises ValueError where there is none."""

    @abstractmethod
    async def start_asker(self, config: JudgeConfig, context: RunContext) -> tuple[OpenAIAsker, tuple[Server, ...]]:
        """Start the owner of the calls, and servers of the run's own where the kind has any."""

    def describe(self, config: JudgeConfig) -> dict[str, str]:
        prompts = prompts_of(config)
        labels = {field.name: getattr(prompts, field.name).label for field in fields(prompts)}
        return {"model": self.model_label(config)} | labels

    def check_settings(self, config: JudgeConfig, where: str) -> None:
        if not config.model:
            raise ValueError(f"{where}.model is not set; give the model's name")
        prompts_of(config)
        check_chat_call(config.call, where)

    def check(self, config: JudgeConfig, where: str) -> None:
        check_chat_call(config.call, where)

    async def start(self, config: JudgeConfig, context: RunContext) -> Judge:
        from actors.judge.checklist import ChecklistJudge
        from actors.judge.local_vlm import LocalJudge
        from actors.judge.rubric import RubricJudge

        asker, servers = await self.start_asker(config, context)
        prompts = prompts_of(config)
        judge: Judge
        if isinstance(prompts, ChecklistPrompts):
            judge = ChecklistJudge(asker, prompts, config.max_questions, config.repeats)
        else:
            judge = RubricJudge(asker, prompts, config.repeats)
        return LocalJudge(judge, servers) if servers else judge

    def sees_both(self, config: JudgeConfig) -> bool:
        return config.rubric == "scores"
