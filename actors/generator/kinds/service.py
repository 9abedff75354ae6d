"""kind: service, another machine's `interleave serve`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from actors.generator.config import GeneratorConfig
from actors.generator.image_sizes import Sizes
from actors.generator.kinds.http import HttpKind
from actors.generator.registry import GeneratorSpec, Mode

if TYPE_CHECKING:
    from actors.generator.api_calls import ImageAnswer, Sent
    from actors.metered.endpoints import Endpoint

STATUS_TIMEOUT_S = 30.0
"""For a service to say what it is."""


class ServiceKind(HttpKind):
    """A service of our own: it knows by itself what it can do."""

    default_name = "service"
    needs_model = False
    is_ours = True

    def check_settings(self, config: GeneratorConfig, spec: GeneratorSpec | None, where: str) -> None:
        if not (config.base_url or config.endpoints):
            raise ValueError(f"{where}: base_url is empty; say where the service is, like http://host:8011")
        if config.call:
            raise ValueError(
                f"{where}: generator.call is the service's own affair: set it in the recipe that it serves"
            )
        super().check_settings(config, spec, where)

    async def ask(self, endpoint: Endpoint, sent: Sent) -> ImageAnswer:
        from actors.generator.api_calls import ask_service

        return await ask_service(endpoint, sent)

    async def known_as(self, config: GeneratorConfig, spec: GeneratorSpec) -> tuple[str, GeneratorSpec]:
        """Ask the service by what its model is known, and what it can do."""
        from actors.generator.api import endpoints_of, read_api_keys
        from actors.metered.answers import said_in
        from actors.metered.connections import connect
        from actors.metered.environment import without_login
        from actors.metered.http_faults import fault_at

        settings, key = endpoints_of(config)[0], read_api_keys(config)[0]
        endpoint = connect(settings, key, min(config.timeout_s, STATUS_TIMEOUT_S))
        client, status = endpoint.connection, None
        try:
            status = await client.get("/status", cast_to=object)
            model, can = status["model"], status["generator"]
            choices = tuple((width, height) for width, height in can["sizes"]["choices"])
            sizes = Sizes(**{**can["sizes"], "default": tuple(can["sizes"]["default"]), "choices": choices})
            modes = frozenset(map(Mode, can["modes"]))
            options = {name: name for name in can["options"]}
            known = replace(spec, name=can["name"], modes=modes, sizes=sizes, options=options)
            # Started again with other settings, it makes other images.
            return f"{model} {can['settings']}", replace(known, max_images=can["max_images"])
        except Exception as error:
            why = fault_at(endpoint, error).error if status is None else f"GET /status says {said_in(status)[:300]}"
            url = without_login(str(settings.base_url))
            raise ValueError(f"generator.base_url is {url}: no service answers there ({why})") from None
        finally:
            await client.close()


KIND = ServiceKind()
