"""A vision-language model of the run's own as a judge: its vLLM servers are endpoints like any other."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from actors import REPOSITORY
from actors.judge.config import JudgeConfig, ServerConfig
from actors.judge.vllm_server import MODEL_NAME, ServerError, VllmServer
from actors.metered.config import EndpointConfig
from actors.model_digest import model_digest
from rollout.concurrency import all_of
from rollout.roles import Judge, JudgeError
from rollout.types import CompareRequest, ScoreRequest, Scores

KEY_ENV = "INTERLEAVE_JUDGE_KEY"
"""Environment variable with the servers' key: they listen on the network, and answer the run alone."""
MAX_REASONING_CHARS = 2000
"""Unless the recipe says another: a small model that rambles would spend all its tokens before the scores."""

PLACING_S = 120.0
"""How long Ray may take to find a node for a server, beyond the server's own start."""
_STOP_S = 30.0
_running: list[Server] = []

Verdict = TypeVar("Verdict")


class Server:
    """A server in this process or in an actor."""

    def __init__(self, here: VllmServer | None = None, actor: Any = None):
        self._here = here
        self._actor = actor

    async def ask(self, method: str) -> Any:
        """Call a method of the server; None in a process that knows nothing of it."""
        if self._here is not None:
            return await asyncio.to_thread(getattr(self._here, method))
        if self._actor is None:
            return None
        try:
            return await getattr(self._actor, method).remote()
        except RayTaskError as error:
            raise error.cause from error

    def stop(self) -> None:
        """Stop the server; an actor's child would end with it at the latest."""
        if self._here is not None:
            self._here.stop()
        elif self._actor is not None and ray.is_initialized():
            with suppress(RayError):
                ray.get(self._actor.stop.remote(), timeout=_STOP_S)
            ray.kill(self._actor)

    def __reduce__(self) -> tuple[Any, ...]:
        return Server, (None, self._actor)


@dataclass(frozen=True)
class LocalJudge:
    """Satisfies `rollout.roles.Judge`: a judge over our own servers, whose errors tell when one of them is down."""

    judge: Judge
    servers: tuple[Server, ...]

    async def score(self, request: ScoreRequest) -> Scores:
        """Return the scores. Raises `JudgeError`, `BudgetSpent`."""
        return await self._explained(self.judge.score(request))

    async def compare(self, request: CompareRequest) -> tuple[Scores, Scores]:
        """Return the scores of the old and the new attempt. Raises `JudgeError`, `BudgetSpent`."""
        return await self._explained(self.judge.compare(request))

    async def stats(self) -> dict[str, float]:
        """Return the bill, keyed `judge/...`."""
        return await self.judge.stats()

    async def _explained(self, verdict: Awaitable[Verdict]) -> Verdict:
        try:
            return await verdict
        except JudgeError as error:
            troubles = await asyncio.gather(*(server.ask("trouble") for server in self.servers), return_exceptions=True)
            words = [str(trouble) for trouble in troubles if trouble]
            if not words:
                raise
            raise JudgeError("\n".join([str(error), *words])) from error


async def start_servers(
    config: JudgeConfig, log_folder: Path, *, name: str = "judge"
) -> tuple[tuple[Server, ...], JudgeConfig]:
    """Start a vllm judge's servers; return them with the settings of a judge that asks them.

    Raises `ServerError` with the end of the log when one does not come up. `shutdown` stops them all.
    """
    key = os.environ.setdefault(KEY_ENV, secrets.token_hex(16))
    model, identity = model_of(config)
    servers = []
    for number in range(max(1, config.num_replicas)):
        settings = replace(config.server, port=config.server.port and config.server.port + number)
        log = log_folder.absolute() / f"{name}-vllm-{number}.log"
        make = partial(VllmServer, model, settings, log=log, api_key=key)
        servers.append(Server(here=make()) if config.num_replicas == 0 else Server(actor=_place(make, settings)))
        _running.append(servers[-1])
    try:
        # A server settles by itself within its time; what is beyond it was waiting for a node.
        async with asyncio.timeout(config.server.start_timeout_s + PLACING_S):
            urls = await all_of(server.ask("wait_until_ready") for server in servers)
    except TimeoutError:
        raise ServerError(
            f"no node had {config.server.gpus:g} GPUs and {config.server.cpus:g} CPUs free for the judge: "
            "others of the run hold them"
        ) from None
    asked = replace(
        config,
        kind="openai",
        model=identity,
        endpoints=[
            EndpointConfig(base_url=url, api_key_env=KEY_ENV, model=MODEL_NAME, has_proxy=False) for url in urls
        ],
        max_reasoning_chars=config.max_reasoning_chars or MAX_REASONING_CHARS,
    )
    return tuple(servers), asked


def shutdown() -> None:
    """Stop the servers that this process started."""
    while _running:
        _running.pop().stop()


class _ServerActor:
    """A server on whichever node has the GPUs, for all nodes to ask."""

    def __init__(self, make: Callable[..., VllmServer]):
        self._server = make(host=ray.util.get_node_ip_address())

    def wait_until_ready(self) -> str:
        return self._server.wait_until_ready()

    def trouble(self) -> str:
        return self._server.trouble()

    def pid(self) -> int:
        return self._server.pid()

    def stop(self) -> None:
        self._server.stop()


def _place(make: Callable[..., VllmServer], config: ServerConfig) -> Any:
    if not ray.is_initialized():
        raise ValueError("Ray is not running: call ray.init() first, or set num_replicas=0 to do without it")
    has = ray.cluster_resources().get("GPU", 0.0)
    if config.gpus > has:
        raise ValueError(f"judge.server.gpus is {config.gpus:g}, but the cluster has {has:g} GPUs in all")
    options = {"num_cpus": config.cpus, "num_gpus": config.gpus, "max_concurrency": 16}
    return ray.remote(_ServerActor).options(**options).remote(make)


def model_of(config: JudgeConfig) -> tuple[str, str]:
    """Return what vLLM is to load, and what cached answers are named after: content where there is a folder."""
    settings = f"{config.server.dtype} {json.dumps(config.server.args, sort_keys=True)}"
    for folder in (Path.cwd() / config.model, REPOSITORY / config.model):
        if config.model and folder.is_dir():
            return str(folder), f"{folder.name}@{model_digest(folder)[:16]} {settings}"
    if config.model.startswith(("/", ".", "~")) or config.model.count("/") != 1:
        raise ValueError(
            f"judge.model is {config.model!r}: there is no such folder, and a hub id looks like owner/name"
        )
    return config.model, f"{config.model} {settings}"
