"""kind: my_module:MyGenerator, a class of the user's own (`actors.user_classes.roles.UserGenerator`), in a pool."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from PIL import Image

from actors.generator.config import GeneratorConfig
from actors.generator.image_sizes import Sizes
from actors.generator.kind import GeneratorKind
from actors.generator.registry import GeneratorSpec, Mode
from actors.run_context import RunContext
from actors.store.pixels import as_seen
from actors.user_classes.classes import UserClass, call
from actors.user_classes.roles import Edit
from actors.user_classes.trial import Code, code_of_class, make_replica
from rollout.types import EditRequest

if TYPE_CHECKING:
    from actors.generator.generator import Generator
    from actors.store.store import Store


class OwnKind(GeneratorKind):
    """The class that `generator.kind` names, made with `generator.options`."""

    needs_model = False
    has_options = True
    unused = frozenset(
        {
            "pipeline",
            "model",
            "custom_pipeline",
            "lora",
            "lora_weights",
            "dtype",
            "max_batch_size",
            "call",
            "base_url",
            "api_key_env",
            "endpoints",
        }
    )

    def max_ongoing(self, config: GeneratorConfig) -> int:
        return config.max_concurrency

    def spec(self, config: GeneratorConfig) -> GeneratorSpec:
        """What the class says of itself in an attribute `spec`, else that it can do everything."""
        own = _class(config)
        name, sizes = own.name, Sizes(1, 1, 2**28, max_aspect=1e9)
        return getattr(own.make(), "spec", None) or GeneratorSpec(name, frozenset(Mode), sizes=sizes, max_images=16)

    def check(self, config: GeneratorConfig) -> None:
        _class(config).make()

    def describe(self, config: GeneratorConfig, model: str) -> dict[str, str]:
        return {"class": _class(config).identity}

    def code_of(self, config: GeneratorConfig) -> Code:
        return code_of_class(_class(config), _answer)

    async def start(self, config: GeneratorConfig, context: RunContext) -> Generator:
        from actors.generator.generator import Generator

        own = _class(config).anchored()
        make = partial(make_replica, own, _answer, context.root)
        return await Generator.of_pool(config, context, make, _known_as(own, self.spec(config)))


async def _known_as(own: UserClass, spec: GeneratorSpec) -> tuple[str, GeneratorSpec]:
    return own.identity, spec


async def _answer(generator: Any, store: Store, request: EditRequest) -> dict[str, object]:
    from actors.user_classes.replica import WrongAnswer, read_image

    references = [image for image in (request.image, *request.references) if image is not None]
    images: list[Any] = [await read_image(store, image) for image in references]
    mask = await read_image(store, request.mask)
    edit = Edit(images, request.prompt, request.seed, mask, request.size, dict(request.options))
    started = time.monotonic()
    made = await call(generator.edit, edit)
    if not isinstance(made, Image.Image):
        raise WrongAnswer(f"edit returned a {type(made).__name__}, expected a PIL image")
    if not min(made.size):
        raise WrongAnswer(f"edit returned an image of {made.width}x{made.height} pixels", "ValueError")
    took = {"queue_seconds": 0.0, "run_seconds": time.monotonic() - started, "batch_size": 1}
    try:
        seen = await asyncio.to_thread(as_seen, made)
    except Exception as error:  # a file that it opened is decoded only here
        raise WrongAnswer(f"edit returned an image that cannot be shown: {error}", "ValueError") from error
    return {"image": await asyncio.to_thread(store.put_image, seen), **took}


def _class(config: GeneratorConfig) -> UserClass:
    assert config.kind is not None
    return UserClass(config.kind, config.options, {"edit": ("edit",)}, "generator.kind")


KIND = OwnKind()
