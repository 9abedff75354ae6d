"""kind: chat, a model that answers with images over the OpenAI-compatible chat interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.generator.kinds.http import HttpKind

if TYPE_CHECKING:
    from actors.generator.api_calls import ImageAnswer, Sent
    from actors.metered.endpoints import Endpoint


class ChatKind(HttpKind):
    """chat/completions."""

    default_name = "openai-chat"

    async def ask(self, endpoint: Endpoint, sent: Sent) -> ImageAnswer:
        from actors.generator.api_calls import ask_chat

        return await ask_chat(endpoint, sent)


KIND = ChatKind()
