"""What the kinds of generator that are asked over HTTP have in common."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from actors.generator.config import GeneratorConfig
from actors.generator.kind import GeneratorKind, spec_of
from actors.generator.registry import REGISTRY, GeneratorSpec
from actors.run_context import RunContext

if TYPE_CHECKING:
    from actors.generator.api_calls import ImageAnswer, Sent
    from actors.generator.generator import Generator
    from actors.metered.endpoints import Endpoint


class HttpKind(GeneratorKind):
    """A model at `generator.base_url`, or at `generator.endpoints` (`actors/generator/api.py`)."""

    has_prices = True
    names_size: ClassVar[bool] = False
    """A request has to say which size it wants."""
    is_ours: ClassVar[bool] = False
    """A service of this project's: in the own network, perhaps without a key."""

    @abstractmethod
    async def ask(self, endpoint: Endpoint, sent: Sent) -> ImageAnswer:
        """Send one edit."""

    def max_ongoing(self, config: GeneratorConfig) -> int:
        return config.max_concurrency

    def spec(self, config: GeneratorConfig) -> GeneratorSpec | None:
        return REGISTRY[self.default_name] if self.default_name else None

    def check_settings(self, config: GeneratorConfig, spec: GeneratorSpec | None, where: str) -> None:
        if spec and config.height and (why := spec.sizes.reject_reason((config.width, config.height))):
            raise ValueError(f"generator {spec.name} {why}: leave generator.height and width out, or change them")

    def check(self, config: GeneratorConfig) -> None:
        from actors.generator.api import endpoints_of, read_api_keys
        from actors.metered.connections import check_connections

        read_api_keys(config)
        check_connections(endpoints_of(config), "generator", are_listed=bool(config.endpoints))

    async def known_as(self, config: GeneratorConfig, spec: GeneratorSpec) -> tuple[str, GeneratorSpec]:
        """Return by what the model is known, and what it can do."""
        return config.model, spec

    async def start(self, config: GeneratorConfig, context: RunContext) -> Generator:
        from actors.generator.api import make_api_calls, read_api_keys
        from actors.generator.generator import Generator

        spec: Any = spec_of(config)
        make = partial(make_api_calls, config, read_api_keys(config), context.root, context.ledger)
        return await Generator.of_calls(config, context, make, self.known_as(config, spec))
