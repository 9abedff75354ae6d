"""What a run's rewards depend on beside its recipe: models, prompts and functions, by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from actors.generator.kind import kind_of
from actors.judge.judge import describe_judge
from actors.observer import describe_evidence
from rewards.functions import identity_of
from rl.recipe.config import Recipe, resolve_path
from rollout.text.limits import is_own

Sources = dict[str, dict[str, str]]
"""Section -> name -> what it is, with a digest."""


def sources_of(recipe: Recipe) -> Sources:
    """Return judge, prompts, rewards and evidence with digests of their files. Raises ValueError where one is missing.

    What the modules of functions import is not in their digests; they are read, not run.
    """
    evidence: dict[str, str] = {}
    for name, config in recipe.evidence.items():
        evidence |= {f"{name}.{key}": what for key, what in describe_evidence(config).items()}
    prompt = resolve_path(recipe.rollout.prompt).read_bytes()
    sources = {
        "judge": describe_judge(recipe.judge),
        "rollout": {"prompt": f"{recipe.rollout.prompt}@{hashlib.sha256(prompt).hexdigest()[:16]}"},
        "reward": {term.key: identity_of(term.fn) for term in recipe.reward.terms},
        "evidence": evidence,
    }
    return sources | {section: own for section, own in _own_sources(recipe).items() if own}


def _own_sources(recipe: Recipe) -> Sources:
    """Return what of the user's own makes images and updates; what of ours does is in the recipe and the commit."""
    algorithm = {"advantage": recipe.algorithm.advantage, "policy_loss": recipe.algorithm.loss.policy_loss}
    generator = recipe.generator
    return {
        "algorithm": {name: identity_of(path) for name, path in algorithm.items() if is_own(path)},
        "generator": kind_of(generator).describe(generator, generator.model) if is_own(generator.kind) else {},
    }


def changes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield key and description of each thing that is another one now. A section that was not saved is not compared.

    >>> list(changes({"judge": {"model": "a"}}, {"judge": {"model": "b"}, "reward": {}}))
    [('judge.model', 'judge.model (was a, now b)')]
    """
    for section in saved.keys() & now.keys():
        old, new = saved[section], now[section]
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                key = f"{section}.{name}"
                yield key, f"{key} (was {old.get(name, 'not there')}, now {new.get(name, 'not there')})"
