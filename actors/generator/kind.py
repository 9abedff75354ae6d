"""What a kind of generator is to everything else: nothing beside its own file asks which kind a generator has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from actors.generator.backends import load_kind
from actors.generator.config import GeneratorConfig
from actors.generator.registry import REGISTRY, GeneratorSpec
from actors.model_digest import model_digest
from actors.run_context import RunContext


class GeneratorKind(ABC):
    """One kind of generator. Its file is read with every recipe: what takes long to import, its methods import."""

    default_name: ClassVar[str] = ""
    """The spec of one that the recipe does not name."""
    default_pipeline: ClassVar[str] = ""
    """Class of one whose recipe says none."""
    needs_model: ClassVar[bool] = True
    has_code: ClassVar[bool] = False
    """Code that comes with the model makes the image."""
    has_prices: ClassVar[bool] = False
    """Its calls cost US dollars, by the recipe's prices, and can have a budget."""
    has_options: ClassVar[bool] = False
    """It takes `generator.options`."""

    @abstractmethod
    def max_ongoing(self, config: GeneratorConfig) -> int:
        """Return how many requests one replica, or endpoint, takes at a time."""

    @abstractmethod
    async def start(self, config: GeneratorConfig, context: RunContext) -> Any:
        """Start what resolved settings need; return its `actors.generator.generator.Generator`.

        Raises ValueError for a generator that cannot work.
        """

    def spec(self, config: GeneratorConfig) -> GeneratorSpec | None:
        """Return what is known of one without a name before it is loaded."""
        return None

    def check_settings(self, config: GeneratorConfig, spec: GeneratorSpec | None, where: str) -> None:  # noqa: B027
        """Raise ValueError for resolved settings that this kind cannot work with."""

    def check(self, config: GeneratorConfig) -> None:  # noqa: B027
        """Raise ValueError for what resolved settings lack here: a key, a class. Starts nothing."""

    def describe(self, config: GeneratorConfig, model: str) -> dict[str, str]:
        """Return what images of resolved settings depend on, by content; `model` is what the recipe calls it."""
        folder = Path(config.model)
        digest = f"@{model_digest(folder)[:16]}" if config.model and folder.is_dir() else ""
        return {"pipeline": config.pipeline, "model": f"{model}{digest}"}


def kind_of(config: GeneratorConfig) -> GeneratorKind:
    """Return what is behind a generator: as it says, or its named spec, else a pipeline of diffusers."""
    return load_kind(config.kind or (REGISTRY[config.name].kind if config.name else "diffusers"))
