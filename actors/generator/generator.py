"""The `Generator` of a recipe, whatever is behind it: it pays each edit once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from actors.generator.config import GeneratorConfig
from actors.generator.kind import check_request, kind_of, resolve
from actors.generator.registry import GeneratorSpec
from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import CallError, RetryPolicy
from actors.metered.service import Pooled
from actors.metered.shared_calls import Make, SharedCalls
from actors.metered.usage_ledger import UsageLedger
from actors.pool import Pool, deploy, pool_name, replica_options
from actors.run_context import RunContext
from actors.servers.servers import Server, troubles
from actors.store.store import Store, call_key
from rollout.concurrency import all_of
from rollout.roles import GeneratorError, Unsupported
from rollout.types import EditRequest, ImageRef


@dataclass
class Generator:
    """Satisfies `rollout.roles.Generator`. Picklable; one owner makes each edit once, whichever process asks."""

    config: GeneratorConfig
    store_root: str
    owner: SharedCalls
    model: str
    """Digest of the loaded model: two models never share a cached image."""
    spec: GeneratorSpec
    """What it can do."""
    pool: Pool | None = None
    """None: it is asked over HTTP."""
    servers: tuple[Server, ...] = ()
    """Those of the run's own that it asks."""

    @classmethod
    async def start(
        cls,
        config: GeneratorConfig,
        store_root: Path | str,
        service: str = "generator",
        ledger_folder: Path | str | None = None,
    ) -> Generator:
        """Start what a recipe's generator needs and return its handle once it can make images.

        A pool `service` of pipelines is ready when every replica has made an image. The ledger, if there is
        one, gets a row for each edit. Raises ValueError for a generator that cannot work.
        """
        config = resolve(config)
        context = RunContext(store_root, service, ledger_folder, "generator")
        generator: Generator = await kind_of(config).start(config, context)
        return generator

    @classmethod
    async def of_pool(
        cls,
        config: GeneratorConfig,
        context: RunContext,
        make: Callable[[], object],
        known_as: Coroutine[Any, Any, object] | None = None,
    ) -> Generator:
        """Deploy a pool of replicas made by `make`; `known_as` says what it can do, else a replica does."""
        pool = await deploy(
            pool_name(context.service, context.root),
            make,
            num_replicas=config.num_replicas,
            bounds=(config.min_replicas or config.num_replicas, config.max_replicas) if config.max_replicas else None,
            max_ongoing=kind_of(config).max_ongoing(config),
            actor_options=replica_options(config.cpus_per_replica, config.gpus_per_replica, config.num_threads),
            router=_router(config),
        )
        calls = partial(make_calls, config, context.root, pool, context.ledger)
        return await cls.of_calls(config, context, calls, known_as or pool.describe(), pool)

    @classmethod
    async def of_calls(
        cls,
        config: GeneratorConfig,
        context: RunContext,
        make: Make,
        known_as: Coroutine[Any, Any, object],
        pool: Pool | None = None,
    ) -> Generator:
        """Start the owner of the calls that `make` makes; `known_as` says by what the model is known, and its spec."""
        started: list[Any] = await all_of([SharedCalls.start(make, is_local=config.num_replicas == 0), known_as])
        owner, (model, spec) = started
        return cls(config, context.root, owner, model, spec, pool)

    async def edit(self, request: EditRequest) -> ImageRef:
        """Return the new image, committed to the store. Raises `GeneratorError`, `Unsupported` before any work."""
        return str((await self.make(request))["image"])

    async def make(self, request: EditRequest) -> dict[str, object]:
        """Return the new image under `image`, with what it took. Raises `GeneratorError` as `edit` does."""
        self.check(request)
        try:
            made: dict[str, object] = await self.owner.get(self._depends_on(request), request)
            return made
        except CallError as error:
            refuses = error.fault.kind == "unsupported"
            words = "\n".join([str(error), *await troubles(self.servers)])
            raise (Unsupported if refuses else GeneratorError)(words) from error
        except FileNotFoundError as error:
            raise GeneratorError(f"no_image: {error}") from error

    def check(self, request: EditRequest) -> None:
        """Raise `Unsupported` for what this generator cannot do."""
        check_request(self.spec, self.config, request)

    async def num_running(self) -> int:
        """Return how many replicas are up: each has made an image, and not failed again and again since."""
        return 1 if self.pool is None else await self.pool.num_running()

    async def stats(self) -> dict[str, float]:
        """Return the owner's counts since the run's start, keyed `generator/...`; seconds are sums."""
        return await self.owner.stats()

    def settings_digest(self) -> str:
        """Return a digest of what images depend on beside the model and the request."""
        config = self.config
        return call_key(
            pipeline=config.pipeline,
            dtype=config.dtype,
            size=[config.height, config.width],
            call=dict(config.call),
            scheduler=dict(self.spec.scheduler),
            **self._chosen(),
        )

    def _depends_on(self, request: EditRequest) -> dict[str, object]:
        config, store = self.config, Store(self.store_root)
        depends_on = {
            "service": "generator",
            "pipeline": config.pipeline,
            "model": self.model,
            "dtype": config.dtype,
            "size": [config.height, config.width],
            "call": dict(config.call),
            "before": store.digest(request.image),
            "prompt": request.prompt,
            "seed": request.seed,
        }
        # What only some requests have is left out of the others' names: those keep the images they have.
        further = {
            "references": [store.digest(ref) for ref in request.references],
            "mask": store.digest(request.mask),
            "wished_size": list(request.size or ()),
            "options": [list(option) for option in request.options],
            "scheduler": dict(self.spec.scheduler),
        }
        return depends_on | {name: value for name, value in further.items() if value} | self._chosen()

    def _chosen(self) -> dict[str, bool | str]:
        """Return the options that change pixels, as far as they are set: images made without keep their names."""
        options = ("batch_invariant", "compile", "attention_backend")
        return {name: value for name in options if (value := getattr(self.config, name))}


def _router(config: GeneratorConfig) -> dict[str, object] | None:
    """Return which router keeps edits of one image together, where replicas make batches of them."""
    if not kind_of(config).has_pipeline:
        return None
    path = "actors.generator.group_router.GroupRouter"
    return {"request_router_class": path, "request_router_kwargs": {"slack": config.max_batch_size}}


def make_calls(
    config: GeneratorConfig, store_root: str, pool: Pool, ledger_folder: str | None, is_continued: bool
) -> MeteredCalls:
    """Return the paid calls of a pool; an edit whose image is gone is made again."""
    store = Store(store_root)
    return MeteredCalls(
        store,
        RetryPolicy(config.timeout_s, config.num_attempts),
        Pooled(
            pool.call,
            config.most_replicas * kind_of(config).max_ongoing(config),
            counted=("queue_seconds", "run_seconds", "prompt_hits", "latent_hits", "references"),
            is_revocable=True,
        ),
        UsageLedger("generator", ledger_folder, is_continued=is_continued),
        is_usable=lambda answer: store.has_image(answer["image"]),
    )
