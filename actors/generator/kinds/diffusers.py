"""kind: diffusers, a pipeline class of diffusers (or of the user's own), in a pool of replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.generator.config import DEFAULT_PIPELINE, GeneratorConfig
from actors.generator.kind import GeneratorKind
from actors.generator.registry import GeneratorSpec, spec_of_class
from actors.run_context import RunContext

if TYPE_CHECKING:
    from actors.generator.generator import Generator

BATCHES_QUEUED = 4
"""Full batches that a replica may hold: from a longer queue it can pick fuller batches of one image."""


class DiffusersKind(GeneratorKind):
    """A pipeline (`actors/generator/pipeline.py`), ready when each replica has made an image."""

    default_pipeline = DEFAULT_PIPELINE
    has_pipeline = True

    def max_ongoing(self, config: GeneratorConfig) -> int:
        return config.max_batch_size * BATCHES_QUEUED

    def spec(self, config: GeneratorConfig) -> GeneratorSpec | None:
        return spec_of_class(config.pipeline or self.default_pipeline)

    def check_settings(self, config: GeneratorConfig, spec: GeneratorSpec | None, where: str) -> None:
        if spec and "." not in config.pipeline and config.pipeline != spec.pipeline:
            raise ValueError(
                f"{where} is a {spec.pipeline}, but generator.pipeline is {config.pipeline}: leave one of them out "
                "(generator.name='' for a pipeline that is named by its class)"
            )

    def check(self, config: GeneratorConfig) -> None:
        from actors.generator.acceleration import check_acceleration
        from actors.generator.pipeline_source import check_pipeline

        if config.compile or config.attention_backend:
            check_acceleration(config)
        if not self.has_code and not config.custom_pipeline:
            check_pipeline(config)

    async def start(self, config: GeneratorConfig, context: RunContext) -> Generator:
        from functools import partial

        from actors.generator.generator import Generator
        from actors.generator.replica import GeneratorReplica

        return await Generator.of_pool(config, context, partial(GeneratorReplica, config, context.root))


KIND = DiffusersKind()
