"""kind: my_module:MyJudge, a class of the user's own (`actors.user_classes.roles.UserJudge`), run as a scorer is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.judge.config import JudgeConfig
from actors.judge.judge import JudgeKind
from actors.judge.registry import ASKING
from actors.run_context import RunContext
from actors.user_classes.classes import UserClass
from actors.user_classes.trial import Code, code_of_class
from rollout.roles import Judge

if TYPE_CHECKING:
    from actors.judge.user_class import OwnJudge
    from actors.store.store import Store
    from rollout.types import CompareRequest, ScoreRequest


class OwnKind(JudgeKind):
    """The class that `judge.kind` names, made with `judge.options`."""

    has_options = True
    unused = ASKING | {"scorer"}

    def describe(self, config: JudgeConfig) -> dict[str, str]:
        return {"class": _class(config).identity}

    def check(self, config: JudgeConfig, where: str) -> None:
        _class(config, f"{where}.kind").make()

    async def start(self, config: JudgeConfig, context: RunContext) -> Judge:
        from actors.judge.user_class import start_own_judge

        judge: OwnJudge = await start_own_judge(config, context, _class(config).anchored())
        return judge

    def sees_both(self, config: JudgeConfig) -> bool:
        return hasattr(_class(config).make(), "compare")

    def code_of(self, config: JudgeConfig) -> Code:
        return code_of_class(_class(config), _answer)

    def num_gpus(self, config: JudgeConfig) -> float:
        return config.num_replicas * config.gpus_per_replica


async def _answer(judge: object, store: Store, request: ScoreRequest | CompareRequest) -> object:
    from actors.judge.user_class import answer

    return await answer(judge, store, request)


def _class(config: JudgeConfig, where: str = "judge.kind") -> UserClass:
    return UserClass(config.kind, config.options, {"score": ("look",)}, where, may_have={"compare": ("looks",)})


KIND = OwnKind()
