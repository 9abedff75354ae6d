"""A judge that is a function of ours: no model, no network."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from PIL import Image

from actors.retry import Fault
from actors.store import Store
from rewards.rubric import RubricError, check_scores
from rollout.types import ScoreRequest, Scores

Scorer = Callable[[Image.Image | None, Image.Image, str], Scores]
"""`score(before, after, instruction)`; must give equal scores for equal arguments."""


class EmbeddedReplica:
    """Runs the scorer in threads, so that reading images and scoring overlap."""

    def __init__(self, scorer: str, store_root: str):
        self._score = load_scorer(scorer)
        self._store = Store(store_root)

    async def __call__(self, request: ScoreRequest) -> dict[str, Any] | Fault:
        """Return the scores as a dict, or why there are none."""
        try:
            return await asyncio.to_thread(self._judge, request)
        except FileNotFoundError as error:
            return Fault("no_image", str(error), is_retryable=False)
        except RubricError as error:
            return Fault(error.kind, str(error), is_retryable=False)
        except Exception as error:
            # A function of its arguments fails again for the same ones.
            return Fault(type(error).__name__, str(error)[:500], is_retryable=False)

    def check_health(self) -> None:
        """An embedded judge has nothing to lose."""

    def _judge(self, request: ScoreRequest) -> dict[str, Any]:
        before = None if request.before is None else self._store.get_image(request.before)
        return asdict(check_scores(self._score(before, self._store.get_image(request.after), request.instruction)))


def load_scorer(path: str) -> Scorer:
    """Import `package.module.function`. Raises ValueError that says what is missing."""
    module, _, name = path.rpartition(".")
    if not module:
        raise ValueError(f"judge.scorer is {path!r}: give an import path like recipes.shapes.judge.score")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"judge.scorer {path} cannot be imported: {error}") from error


def scorer_identity(path: str) -> str:
    """Return the scorer's path with a digest of its module's source, for cache keys.

    What the module imports is not in it: after a change there, start with a new store.
    """
    source = inspect.getsource(inspect.getmodule(load_scorer(path)) or load_scorer(path))
    return f"{path}@{hashlib.sha256(source.encode()).hexdigest()[:16]}"
