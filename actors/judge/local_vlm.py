"""A vision-language model of the run's own as a judge: its vLLM servers are endpoints like any other."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from actors import REPOSITORY
from actors.judge.config import JudgeConfig
from actors.judge.vllm_server import MODEL_NAME, server_spec
from actors.metered.config import EndpointConfig
from actors.model_digest import model_digest
from actors.servers.servers import Server, troubles
from actors.servers.servers import start_servers as servers_of
from rollout.roles import Judge, JudgeError
from rollout.types import CompareRequest, ScoreRequest, Scores

KEY_ENV = "INTERLEAVE_JUDGE_KEY"
"""Environment variable with the servers' key: they listen on the network, and answer the run alone."""
MAX_REASONING_CHARS = 2000
"""Unless the recipe says another: a small model that rambles would spend all its tokens before the scores."""

Verdict = TypeVar("Verdict")


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
            words = await troubles(self.servers)
            if not words:
                raise
            raise JudgeError("\n".join([str(error), *words])) from error


async def start_servers(
    config: JudgeConfig, log_folder: Path, *, name: str = "judge"
) -> tuple[tuple[Server, ...], JudgeConfig]:
    """Start a vllm judge's servers; return them with the settings of a judge that asks them.

    Raises `ServerError` with the end of the log when one does not come up.
    """
    key = os.environ.setdefault(KEY_ENV, secrets.token_hex(16))
    model, identity = model_of(config)
    spec = server_spec(model, config.server, api_key=key)
    servers, urls = await servers_of(spec, config.num_replicas, log_folder.absolute() / f"{name}-vllm")
    asked = replace(
        config,
        kind="openai",
        model=identity,
        endpoints=[
            EndpointConfig(base_url=url, api_key_env=KEY_ENV, model=MODEL_NAME, has_proxy=False) for url in urls
        ],
        max_reasoning_chars=config.max_reasoning_chars or MAX_REASONING_CHARS,
    )
    return servers, asked


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
