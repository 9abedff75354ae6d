"""kind: openai, a model behind OpenAI-compatible endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.judge.config import JudgeConfig
from actors.judge.kinds.asked import AskedKind
from actors.metered.config import EndpointConfig
from actors.run_context import RunContext

if TYPE_CHECKING:
    from actors.judge.openai_asker import OpenAIAsker
    from actors.servers.servers import Server


class OpenAIKind(AskedKind):
    """`judge.model` at `judge.base_url`, or at `judge.endpoints`."""

    has_prices = True
    unused = frozenset({"scorer", "server"})

    def model_label(self, config: JudgeConfig) -> str:
        return config.model

    def check(self, config: JudgeConfig, where: str) -> None:
        from actors.judge.openai_asker import check_asker

        check_asker(config, where)

    def endpoints(self, config: JudgeConfig) -> list[EndpointConfig]:
        from actors.judge.openai_asker import endpoints_of

        return endpoints_of(config)

    async def start_asker(self, config: JudgeConfig, context: RunContext) -> tuple[OpenAIAsker, tuple[Server, ...]]:
        from actors.judge.openai_asker import start_asker

        return await start_asker(config, context.store_root, context.area, context.ledger_folder), ()


KIND = OpenAIKind()
