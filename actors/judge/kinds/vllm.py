"""kind: vllm, a model on GPUs of the run, behind vLLM servers that the run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.judge.config import JudgeConfig
from actors.judge.kinds.asked import AskedKind
from actors.judge.registry import SERVICE
from actors.run_context import RunContext

if TYPE_CHECKING:
    from actors.judge.openai_asker import OpenAIAsker
    from actors.servers.servers import Server


class VllmKind(AskedKind):
    """`judge.model`, a folder or a hub id, on `judge.server`s."""

    unused = SERVICE | {"scorer"}

    def model_label(self, config: JudgeConfig) -> str:
        from actors.judge.local_vlm import model_of

        return model_of(config)[1]

    def num_gpus(self, config: JudgeConfig) -> float:
        return max(1, config.num_replicas) * config.server.gpus

    async def start_asker(self, config: JudgeConfig, context: RunContext) -> tuple[OpenAIAsker, tuple[Server, ...]]:
        from actors.judge.local_vlm import start_servers
        from actors.judge.openai_asker import start_asker

        servers, asked = await start_servers(config, context.logs, name=context.service)
        return await start_asker(asked, context.store_root, context.area, context.ledger_folder), servers


KIND = VllmKind()
