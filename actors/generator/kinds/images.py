"""kind: images, the OpenAI-compatible images interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.generator.kinds.http import HttpKind

if TYPE_CHECKING:
    from actors.generator.api_calls import ImageAnswer, Sent
    from actors.metered.endpoints import Endpoint


class ImagesKind(HttpKind):
    """images/generations, or images/edits where there is an image."""

    default_name = "openai-images"
    names_size = True

    async def ask(self, endpoint: Endpoint, sent: Sent) -> ImageAnswer:
        from actors.generator.api_calls import ask_images

        return await ask_images(endpoint, sent)


KIND = ImagesKind()
