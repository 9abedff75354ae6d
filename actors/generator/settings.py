"""A recipe's generator with all that its spec says filled in, and what can be wrong with it before it is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from actors.generator.config import DEFAULT_BATCH_SIZE, GeneratorConfig
from actors.generator.kind import kind_of
from actors.generator.registry import REGISTRY, GeneratorSpec, spec_named
from rollout.roles import Unsupported
from rollout.types import EditRequest

NO_LORA = "none"


def resolve(config: GeneratorConfig) -> GeneratorConfig:
    """Return the settings with nothing left empty that the spec says. Raises ValueError for what cannot be loaded."""
    kind = kind_of(config)
    config = replace(config, name=config.name or kind.default_name)
    if not config.name:
        return _checked(
            replace(
                config,
                pipeline=config.pipeline or kind.default_pipeline,
                max_batch_size=_batch_size(config, DEFAULT_BATCH_SIZE),
            ),
            None,
        )
    spec = spec_named(config.name)
    lora = config.lora or spec.lora
    merged = {**spec.call, **config.call}
    resolved = replace(
        config,
        pipeline=config.pipeline or spec.pipeline,
        model=config.model or spec.model,
        lora="" if lora == NO_LORA else lora,
        lora_weights=config.lora_weights or ("" if config.lora else spec.lora_weights),
        max_batch_size=_batch_size(config, spec.max_batch_size),
        call={name: value for name, value in merged.items() if value is not None},
        base_url=config.base_url or spec.base_url,
        api_key_env=config.api_key_env or spec.api_key_env,
    )
    return _checked(resolved, spec)


def _batch_size(config: GeneratorConfig, default: int) -> int:
    return 1 if config.batch_invariant else config.max_batch_size or default


def spec_of(config: GeneratorConfig) -> GeneratorSpec | None:
    """Return what is known of a generator before it is loaded; None for a pipeline class that is not ours."""
    spec = REGISTRY.get(config.name) if config.name else kind_of(config).spec(config)
    if spec is None or config.name or not spec.pipeline:
        return spec
    # Named by its class: what it can do is known, how it is to be called is the recipe's.
    return replace(spec, name=spec.pipeline, call={}, options={}, lora="", scheduler={})


def check_generator(config: GeneratorConfig, befores: Iterable[str | None] = ()) -> GeneratorConfig:
    """Return the resolved settings, having loaded nothing. Raises ValueError for what cannot work.

    `befores` are before-images of edits that it will be asked for (None: text-to-image).
    """
    resolved = resolve(config)
    spec = spec_of(resolved)
    if spec is not None:
        for before in befores:
            try:
                spec.check(EditRequest(before, "", 0))
            except Unsupported as error:
                raise ValueError(f"generator: {error}") from None
    return resolved


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


def _checked(config: GeneratorConfig, spec: GeneratorSpec | None) -> GeneratorConfig:
    kind = kind_of(config)
    where = f"generator {config.name or config.pipeline or config.kind}"
    if config.options and not kind.has_options:
        raise ValueError(f"{where}: generator.options are for a class of your own, which generator.kind names")
    kind.check_settings(config, spec, where)
    if not config.model and kind.needs_model:
        raise ValueError(f"{where}: generator.model is not set; give a folder, a hub id or a model's name")
    if (kind.has_code or config.custom_pipeline) and not config.trust_remote_code:
        raise ValueError(
            f"{where} is made by code that comes with it ({config.custom_pipeline or config.model}): read that code, "
            "then set generator.trust_remote_code=true to run it"
        )
    if kind.has_prices and config.batch_invariant:
        raise ValueError(f"{where} makes its images elsewhere: generator.batch_invariant is for pipelines of this run")
    _check_budget(config, where, costs=kind.has_prices)
    return config


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
