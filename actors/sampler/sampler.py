"""The samplers as everyone else sees them: one `Sampler` object, whose engines run elsewhere."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, ObjectLostError, RayActorError, RayError, RayTaskError

from actors.calls import ask
from actors.config import SamplerConfig
from actors.cpu_kernels import portable_kernels
from actors.homes import Homes
from actors.image_limit import MODEL_PIXELS
from actors.sampler.engine import Engine
from actors.shared_devices import Devices, spread_over
from rollout.roles import SamplerUnavailable
from rollout.types import Response, SampleRequest

_MAX_CONCURRENCY = 4096
_MAX_RESTARTS = 4
_AVOID_S, _AGAIN_S = 10.0, 1.0
_MOST_DEATHS = 3
"""After so many deaths of its engines a request is given up, as a group is that kills rollout workers."""
_COMING = ("restarting", "waits for the next publish")
"""What Ray, and an engine itself, say of one that is on its way back."""
_READY_S = 600.0
_SILENT_S = 120.0
"""How long an engine may leave it open whether it is up: Ray takes up to a minute to find that a node is gone."""


class Standing(StrEnum):
    """Whether an engine can take weights now."""

    UP = "up"
    COMING = "coming"
    """It is being started again, or waits for a node with room for it; it refuses requests until it gets weights."""
    DEAD = "dead"


class _NoneAnswers(Exception):
    """Why none of the engines answers, by their numbers."""

    def __init__(self, errors: Mapping[int, Exception]):
        causes = "; ".join(f"sampler {index}: {error}" for index, error in errors.items())
        super().__init__(f"no sampler can answer; {causes}")
        self.is_loss = any(all(words not in str(error) for words in _COMING) for error in errors.values())
        """Whether an engine was lost under the request, or just before; otherwise none has taken it."""
        self.are_dead = all(isinstance(error, ActorDiedError) for error in errors.values())


class Samplers:
    """Satisfies `rollout.roles.Sampler`. Picklable: each copy routes by its own requests in flight."""

    patience_s = _READY_S
    """How long a request waits for an engine that can answer."""

    def __init__(self, engines: Sequence[Any], config: SamplerConfig):
        self.engines = tuple(engines)
        self.config = config
        self._load = [0] * len(self.engines)
        self._avoid_until = [0.0] * len(self.engines)
        self._homes = Homes[int](config.max_num_seqs)

    @classmethod
    async def start(
        cls,
        config: SamplerConfig,
        model: str,
        *,
        store_root: Path | str,
        max_pixels: int = MODEL_PIXELS,
        is_published: bool = True,
        engine_class: type = Engine,
        devices: Devices | None = None,
    ) -> Samplers:
        """Start all engines at once with the weights of `model`; Ray must be initialized.

        Images are scaled down to `max_pixels`. `is_published` says that weights will be published: a restarted engine
        waits for them. `devices` are a policy's, to take turns with; else engines are spread over the nodes.
        """
        actor = ray.remote(engine_class)
        options: dict[str, object] = {
            "num_cpus": 1,
            "num_gpus": config.gpus_per_sampler if devices is None else devices.gpus_each,
            "max_concurrency": _MAX_CONCURRENCY,
            "max_restarts": _MAX_RESTARTS,
            "runtime_env": {"env_vars": environment_of(config)},
        }
        arguments = (config, model, str(store_root), max_pixels, is_published)
        places = spread_over(devices, config.num_samplers)
        engines = [actor.options(**options, scheduling_strategy=place).remote(*arguments) for place in places]
        samplers = cls(engines, config)
        await samplers.ready()
        return samplers

    async def sample(self, request: SampleRequest) -> Response:
        """Return the response as soon as it is finished.

        A request whose engine died is sent to another one; where none can answer, it waits until one is back and has
        weights. Raises `SamplerError` if the request is at fault, `SamplerUnavailable` if all engines are dead, none
        could answer for too long, or this request may be what they die of. Cancelling it aborts the request in its
        engine.
        """
        give_up, deaths, was_lost = time.monotonic() + self.patience_s, 0, False
        while True:
            try:
                return await self._sample(request)
            except _NoneAnswers as error:
                deaths += error.is_loss and not was_lost  # Ray may say it again until it starts the engine again
                was_lost = error.is_loss
                if error.are_dead or deaths == _MOST_DEATHS or time.monotonic() > give_up:
                    raise SamplerUnavailable(str(error)) from error
            await asyncio.sleep(_AGAIN_S)

    async def _sample(self, request: SampleRequest) -> Response:
        """Ask one engine after the other."""
        key = zlib.crc32(repr((request.images, request.messages)).encode())
        untried = set(range(len(self.engines)))
        errors: dict[int, Exception] = {}
        while untried:
            index = self._route(key, untried)
            untried.remove(index)
            try:
                return await self._ask(index, request)
            except (RayActorError, ObjectLostError, SamplerUnavailable) as error:
                self._avoid_until[index] = time.monotonic() + _AVOID_S
                self._homes.forget(key)
                errors[index] = error
        raise _NoneAnswers(errors)

    async def lack_weights(self) -> bool:
        """Return whether no engine can answer before it gets weights."""
        return not any(await asyncio.gather(*map(_has_weights, self.engines)))

    async def ready(self, timeout_s: float = _READY_S) -> None:
        """Return once all engines are up, even restarted ones. Raises `SamplerUnavailable`, `TimeoutError`."""
        deadline = time.monotonic() + timeout_s
        for index, engine in enumerate(self.engines):
            while True:
                try:
                    await asyncio.wait_for(_ready(engine), deadline - time.monotonic())
                    break
                except TimeoutError as error:
                    raise TimeoutError(
                        f"sampler {index} is not up after {timeout_s:.0f} s; does Ray have free CPUs or GPUs for it?"
                    ) from error
                except RayActorError as error:
                    # A restarting actor is unavailable for a while; one that used up its restarts stays dead.
                    if "restart" not in str(error).lower():
                        raise SamplerUnavailable(f"sampler {index} is dead: {error}") from error
                    await asyncio.sleep(1.0)

    async def living(self, timeout_s: float = _READY_S) -> Mapping[int, Any]:
        """Return the engines that are up, by their numbers, as soon as there is one.

        The others have no weights that they would answer with: they refuse requests until they get some. One that is
        silent for too long is restarted, so that this holds for it, too. Raises `SamplerUnavailable`, `TimeoutError`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            standings = await asyncio.gather(*map(_standing, self.engines))
            if living := {index: self.engines[index] for index, one in enumerate(standings) if one is Standing.UP}:
                return living
            if set(standings) == {Standing.DEAD}:
                raise SamplerUnavailable("every sampler is dead")
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"no sampler is up after {timeout_s:.0f} s; does Ray have free CPUs or GPUs for one?"
                )
            await asyncio.sleep(1.0)

    def actors(self) -> dict[str, Any]:
        """Return the engines, by names for messages."""
        return {f"sampler {number}": engine for number, engine in enumerate(self.engines)}

    async def each(self, method: str, *args: object) -> list[object]:
        """Call a method of all engines at once and return the answers in the engines' order."""
        return list(await asyncio.gather(*[getattr(engine, method).remote(*args) for engine in self.engines]))

    async def sleep(self) -> None:
        """Free the memory of weights and key-value caches until the next publish; requests wait meanwhile.

        An engine that is lost holds nothing, or is awake when Ray has started it again. Raises `SamplerUnavailable`,
        `TimeoutError`.
        """
        try:
            await self.each("sleep")
        except RayActorError:
            living = await self.living()
            await asyncio.gather(*[engine.sleep.remote() for engine in living.values()])

    async def stats(self) -> dict[str, float]:
        """Return the engines' counts since their start, added up and keyed `samplers/...`."""
        answers = await asyncio.gather(*[engine.stats.remote() for engine in self.engines], return_exceptions=True)
        total: Counter[str] = Counter()
        for answer in answers:
            if isinstance(answer, dict):  # an engine that is restarting does not answer; it counts from 0 again
                total.update(answer)
        return {f"samplers/{name}": count for name, count in total.items()}

    async def shutdown(self) -> None:
        """End the engines."""
        for engine in self.engines:
            ray.kill(engine, no_restart=True)

    async def _ask(self, index: int, request: SampleRequest) -> Response:
        self._load[index] += 1
        try:
            response: Response = await ask(self.engines[index].sample, request)
            return response
        finally:
            self._load[index] -= 1

    def _route(self, key: int, among: set[int]) -> int:
        """Choose the least loaded engine; a known prompt goes where its prefix is cached, unless that is full."""
        now = time.monotonic()
        usable = [index for index in among if self._avoid_until[index] <= now] or sorted(among)
        # The prompt breaks ties, so that many copies with nothing in flight do not all start with engine 0.
        in_turn = sorted(usable, key=lambda index: (key + index) % len(self.engines))
        return self._homes.choose(key, {index: self._load[index] for index in in_turn})

    def __reduce__(self) -> tuple[object, ...]:
        return Samplers, (self.engines, self.config)


async def _ready(engine: Any) -> None:
    await engine.ready.remote()


async def _has_weights(engine: Any) -> bool:
    try:
        return bool(await engine.has_weights.remote())
    except RayError:
        return False


async def _standing(engine: Any) -> Standing:
    """Ask an engine, or Ray, how it is. Where its node does not answer, wait until Ray knows what became of it."""
    try:
        async with asyncio.timeout(_SILENT_S):
            while True:
                try:
                    return Standing.UP if await engine.is_up.remote() else Standing.COMING
                except RayTaskError:  # its vLLM died, and its process ends
                    return Standing.COMING
                except ActorUnavailableError as error:
                    if "restarting" in str(error):
                        return Standing.COMING
                except RayActorError:
                    return Standing.DEAD
                await asyncio.sleep(1.0)
    except TimeoutError:
        ray.kill(engine, no_restart=False)
        return Standing.COMING


def environment_of(config: SamplerConfig) -> dict[str, str]:
    """Return the environment variables that vLLM and torch of an engine's process go by."""
    environment = {
        # In-process: two processes fewer per engine, and every step and every load in one thread.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if not config.gpus_per_sampler:
        environment |= {
            "OMP_NUM_THREADS": str(config.num_threads),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
            # The engine runs eagerly; otherwise the first request compiles one small helper for 15 s.
            "TORCH_COMPILE_DISABLE": "1",
            **portable_kernels(),
        }
    return environment
