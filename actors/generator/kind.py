"""What a kind of generator is to everything else, and a recipe's settings with all that kind and spec fill in.

Nothing beside its own file asks which kind a generator has.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from actors.generator.config import DEFAULT_BATCH_SIZE, GeneratorConfig
from actors.generator.registry import KINDS, OWN_KIND, REGISTRY, GeneratorSpec
from actors.model_digest import model_digest
from actors.run_context import RunContext
from actors.user_classes.trial import Code
from rewards.functions.import_path import load_object
from rollout.roles import Unsupported
from rollout.types import EditRequest

NO_LORA = "none"


class GeneratorKind(ABC):
    """One kind of generator. Its file is read with every recipe: what takes long to import, its methods import."""

    default_name: ClassVar[str] = ""
    """The spec of one that the recipe does not name."""
    default_pipeline: ClassVar[str] = ""
    """Class of one whose recipe says none."""
    needs_model: ClassVar[bool] = True
    has_code: ClassVar[bool] = False
    """Code that comes with the model makes the image."""
    has_pipeline: ClassVar[bool] = False
    """A pipeline of diffusers' makes its images, in a replica of the run's own."""
    has_prices: ClassVar[bool] = False
    """Its calls cost US dollars, by the recipe's prices, and can have a budget."""
    has_server: ClassVar[bool] = False
    """It can ask a server that the run starts: `generator.server`."""
    has_options: ClassVar[bool] = False
    """It takes `generator.options`."""
    unused: ClassVar[frozenset[str]] = frozenset()
    """Keys of `generator` that do nothing for it."""

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

    def code_of(self, config: GeneratorConfig) -> Code | None:
        """Return the user's code that makes images; None where there is none."""
        return None

    def describe(self, config: GeneratorConfig, model: str) -> dict[str, str]:
        """Return what images of resolved settings depend on, by content; `model` is what the recipe calls it."""
        folder = Path(config.model)
        digest = f"@{model_digest(folder)[:16]}" if config.model and folder.is_dir() else ""
        return {"pipeline": config.pipeline, "model": f"{model}{digest}"}


def kind_of(config: GeneratorConfig) -> GeneratorKind:
    """Return what is behind a generator: as it says, or its named spec, else a pipeline of diffusers."""
    name = config.kind or (REGISTRY[config.name].kind if config.name else "diffusers")
    kind = load_object(KINDS.get(name, OWN_KIND))
    assert isinstance(kind, GeneratorKind)
    return kind


def resolve(config: GeneratorConfig) -> GeneratorConfig:
    """Return the settings with nothing left empty that the spec says. Raises ValueError for what cannot be loaded.

    To be done once: what a recipe takes away from its spec, as a LoRA, is not known of the result.
    """
    kind = kind_of(config)
    spec = REGISTRY.get(config.name or kind.default_name)
    batch_size = config.max_batch_size or (spec.max_batch_size if spec else DEFAULT_BATCH_SIZE)
    resolved = replace(
        config,
        pipeline=config.pipeline or (spec.pipeline if spec else kind.default_pipeline),
        max_batch_size=1 if config.batch_invariant else batch_size,
    )
    if spec is not None:
        lora = config.lora or spec.lora
        merged = {**spec.call, **config.call}
        resolved = replace(
            resolved,
            name=spec.name,
            model=config.model or spec.model,
            lora="" if lora == NO_LORA else lora,
            lora_weights=config.lora_weights or ("" if config.lora else spec.lora_weights),
            call={name: value for name, value in merged.items() if value is not None},
            base_url=config.base_url or spec.base_url,
            api_key_env=config.api_key_env or spec.api_key_env,
        )
    _check(resolved, kind, spec)
    return resolved


def spec_of(config: GeneratorConfig) -> GeneratorSpec | None:
    """Return what is known of a generator before it is loaded; None for a pipeline class that is not ours."""
    spec = REGISTRY.get(config.name) if config.name else kind_of(config).spec(config)
    if spec is None or config.name or not spec.pipeline:
        return spec
    # Named by its class: what it can do is known, how it is to be called is the recipe's.
    return replace(spec, name=spec.pipeline, call={}, options={}, lora="", scheduler={})


def check_generator(config: GeneratorConfig, befores: Iterable[str | None] = ()) -> GeneratorConfig:
    """Return the resolved settings, having loaded nothing. Raises ValueError for what cannot work: a lost key, too.

    `befores` are before-images of edits that it will be asked for (None: text-to-image).
    """
    resolved = resolve(config)
    check_befores(config, befores)
    kind_of(config).check(resolved)
    return resolved


def check_befores(config: GeneratorConfig, befores: Iterable[str | None]) -> None:
    """Raise ValueError for before-images that a generator cannot edit (None: text-to-image)."""
    if (spec := spec_of(config)) is None:
        return
    try:
        for before in befores:
            spec.check(EditRequest(before, "", 0))
    except Unsupported as error:
        raise ValueError(f"generator: {error}") from None


def check_request(spec: GeneratorSpec, config: GeneratorConfig, request: EditRequest) -> None:
    """Raise `Unsupported` for what a generator with these settings cannot do."""
    pinned = (config.width, config.height) if config.height else None
    if pinned and request.size and request.size != pinned:
        raise Unsupported(
            f"unsupported: {spec.name} is set to {pinned[0]}x{pinned[1]} by its recipe, "
            f"not {request.size[0]}x{request.size[1]}"
        )
    # The recipe's size is its own affair.
    spec.check(replace(request, size=None) if pinned else request)


def _check(config: GeneratorConfig, kind: GeneratorKind, spec: GeneratorSpec | None) -> None:
    where = f"generator {config.name or config.pipeline or config.kind}"
    if config.options and not kind.has_options:
        raise ValueError(f"{where}: generator.options are for a class of your own, which generator.kind names")
    if not config.model and kind.needs_model:
        raise ValueError(f"{where}: generator.model is not set; give a folder, a hub id or a model's name")
    if config.server.command and not kind.has_server:
        raise ValueError(f"{where} is asked in another way: generator.server is for generator.kind images")
    if (kind.has_code or config.custom_pipeline) and not config.trust_remote_code:
        raise ValueError(
            f"{where} is made by code that comes with it ({config.custom_pipeline or config.model}): read that code, "
            "then set generator.trust_remote_code=true to run it"
        )
    if kind.has_prices and config.batch_invariant:
        raise ValueError(f"{where} makes its images elsewhere: generator.batch_invariant is for pipelines of this run")
    for name in () if kind.has_pipeline else ("compile", "attention_backend", "max_batch_pixels"):
        if getattr(config, name):
            raise ValueError(f"{where} is no pipeline of diffusers: generator.{name} is for those; leave it out")
    for name in ("num_inference_steps", "max_sequence_length"):
        given = config.call.get(name, 1)
        if not isinstance(given, int) or isinstance(given, bool) or given < 1:
            raise ValueError(f"{where}: generator.call.{name} is {given!r}; expected a whole number, 1 or more")
    _check_budget(config, where, costs=kind.has_prices)
    kind.check_settings(config, spec, where)


def _check_budget(config: GeneratorConfig, where: str, *, costs: bool) -> None:
    """Raise ValueError for a budget that would never end a run."""
    if not config.budget_calls and not config.budget_usd:
        return
    if not costs:
        raise ValueError(f"{where} costs nothing: a budget is for generators behind HTTP; leave it out")
    if config.num_replicas == 0:
        raise ValueError(f"{where}: a budget needs one owner of the run's calls: set num_replicas to 1")
    prices = ("usd_per_million_input_tokens", "usd_per_million_output_tokens")
    has_prices = config.endpoints and all(any(getattr(one, price) for price in prices) for one in config.endpoints)
    if config.budget_usd and not config.usd_per_image and not has_prices:
        raise ValueError(
            f"generator.budget_usd={config.budget_usd:g} needs a price: set generator.usd_per_image, or in each of "
            f"generator.endpoints {' and '.join(prices)}"
        )
