"""kind: chat, a model that answers with images over the OpenAI-compatible chat interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.generator.config import GeneratorConfig
from actors.generator.kinds.http import HttpKind
from actors.generator.registry import GeneratorSpec
from actors.metered.call_arguments import check_chat_call

if TYPE_CHECKING:
    from actors.generator.api_calls import ImageAnswer, Sent
    from actors.metered.endpoints import Endpoint


class ChatKind(HttpKind):
    """chat/completions."""

    default_name = "openai-chat"

    def check_settings(self, config: GeneratorConfig, spec: GeneratorSpec | None, where: str) -> None:
        super().check_settings(config, spec, where)
        check_chat_call(config.call, "generator")

    async def ask(self, endpoint: Endpoint, sent: Sent) -> ImageAnswer:
        from actors.generator.api_calls import ask_chat

        return await ask_chat(endpoint, sent)


KIND = ChatKind()
