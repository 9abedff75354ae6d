"""kind: images, the OpenAI-compatible images interface: of a provider, or of servers that the run starts itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from actors.generator.config import GeneratorConfig
from actors.generator.kinds.http import HttpKind
from actors.generator.registry import GeneratorSpec
from actors.metered.call_arguments import check_images_call
from actors.run_context import RunContext

if TYPE_CHECKING:
    from actors.generator.api_calls import ImageAnswer, Sent
    from actors.generator.generator import Generator
    from actors.metered.endpoints import Endpoint


class ImagesKind(HttpKind):
    """images/generations, or images/edits where there is an image."""

    default_name = "openai-images"
    names_size = True
    has_server = True

    def check_settings(self, config: GeneratorConfig, spec: GeneratorSpec | None, where: str) -> None:
        from actors.generator.image_server import check_command

        super().check_settings(config, spec, where)
        check_images_call(config.call, "generator")
        if config.server.command:
            check_command(config)

    def check(self, config: GeneratorConfig) -> None:
        from actors.generator.image_server import check_program

        if config.server.command:
            check_program(config)
        else:
            super().check(config)

    def describe(self, config: GeneratorConfig, model: str) -> dict[str, str]:
        described = super().describe(config, model)
        return described | ({"server": config.server.command} if config.server.command else {})

    async def known_as(self, config: GeneratorConfig, spec: GeneratorSpec) -> tuple[str, GeneratorSpec]:
        """Return by what the model is known: with a server of our own its content, and the command that runs it."""
        from actors.generator.image_server import identity_of

        return identity_of(config) if config.server.command else config.model, spec

    async def start(self, config: GeneratorConfig, context: RunContext) -> Generator:
        from actors.generator.image_server import start_image_servers

        if not config.server.command:
            return await super().start(config, context)
        servers, endpoints = await start_image_servers(config, context.logs / f"{context.service}-server")
        return replace(await super().start(replace(config, endpoints=endpoints), context), servers=servers)

    async def ask(self, endpoint: Endpoint, sent: Sent) -> ImageAnswer:
        from actors.generator.api_calls import ask_images

        return await ask_images(endpoint, sent)


KIND = ImagesKind()
