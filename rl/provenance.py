"""What a run's rewards depend on beside its recipe: models, prompts and functions, by their content."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actors.judge import describe_judge
from rl.config import Recipe, resolve_path

Sources = dict[str, dict[str, str]]
"""Section -> name -> what it is, with a digest."""


def sources_of(recipe: Recipe) -> Sources:
    """Return judge, prompts, rewards and evidence with digests of their files. Raises ValueError where one is missing.

    What the modules of functions import is not in their digests; they are read, not run.
    """
    evidence: dict[str, str] = {}
    for name, config in recipe.evidence.items():
        seen = {"fn": _function(config.fn)} if config.judge is None else describe_judge(config.judge)
        evidence |= {f"{name}.{key}": what for key, what in seen.items()}
    return {
        "judge": describe_judge(recipe.judge),
        "rollout": {"prompt": f"{recipe.rollout.prompt}@{_digest(resolve_path(recipe.rollout.prompt).read_bytes())}"},
        "reward": {term.key: _function(term.fn) for term in recipe.reward.terms},
        "evidence": evidence,
    }


def changes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each thing that is another one now. A section that was not saved is not compared.

    >>> list(changes({"judge": {"model": "a"}}, {"judge": {"model": "b"}, "reward": {}}))
    ['judge.model was a and is b']
    """
    for section in saved.keys() & now.keys():
        old, new = saved[section], now[section]
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                yield f"{section}.{name} was {old.get(name, 'not there')} and is {new.get(name, 'not there')}"


def _function(path: str) -> str:
    module, _, _ = path.rpartition(":" if ".py:" in path else ".")
    if module.endswith(".py"):
        file: str | None = str(Path(module).expanduser())
    else:
        spec = importlib.util.find_spec(module)
        file = spec.origin if spec else None
    if file is None or not Path(file).is_file():
        raise ValueError(f"{path}: there is no file of {module}")
    return f"{path}@{_digest(Path(file).read_bytes())}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
