"""A recipe's reward, tried, and the evidence that its terms need: no more is gathered, as it costs time and money."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from actors.config import EvidenceConfig
from actors.judge.probe import probe_judges
from actors.observer import check_evidence, judges_of
from actors.reward.samples import try_reward
from actors.user_functions.runner import RewardRunner
from rewards.signature import RewardSignature
from rl.recipe.config import Recipe
from rollout.text.limits import nearest
from rollout.types import Task


def check_reward(recipe: Recipe, tasks: Sequence[Task]) -> tuple[RewardRunner, dict[str, EvidenceConfig]]:
    """Return the reward and what it needs beside the judge's scores. Blocks; raises ValueError for what is amiss."""
    reward = RewardRunner(recipe.reward.terms)
    if not recipe.reward.probe:
        return reward, needed_evidence(recipe, reward.check())
    return reward, try_reward(recipe.reward.terms, partial(needed_evidence, recipe), tasks)


def probe_all_judges(recipe: Recipe, evidence: Mapping[str, EvidenceConfig]) -> None:
    """Ask each endpoint of the reward's judges one question. Blocks; raises ValueError for one that cannot work."""
    asyncio.run(probe_judges({"judge": recipe.judge} | judges_of(evidence)))


def needed_evidence(recipe: Recipe, traits: Mapping[str, RewardSignature]) -> dict[str, EvidenceConfig]:
    """Return what has to be gathered, checked. Raises ValueError for a need that the recipe does not meet.

    `traits` are those of the reward's functions, by the terms' names.
    """
    needed: dict[str, EvidenceConfig] = {}
    for term in recipe.reward.terms:
        for name in traits[term.key].needs:
            if name not in recipe.evidence:
                raise ValueError(
                    f"reward term {term.fn} needs the evidence {name!r}, which the recipe does not gather"
                    f"{nearest(name, recipe.evidence)}; add `evidence: {{{name}: {{fn: ...}}}}`"
                )
            needed[name] = recipe.evidence[name]
    for name, config in needed.items():
        check_evidence(name, config)
    return needed


def idle_evidence(recipe: Recipe, needed: Mapping[str, EvidenceConfig]) -> str:
    """Say what the recipe could gather and nobody needs; empty where there is nothing."""
    idle = sorted(set(recipe.evidence) - set(needed))
    if not idle:
        return ""
    return (
        f"evidence {', '.join(idle)} is not gathered: no term of the reward needs it "
        f"(declare it on the function: @needs({idle[0]!r}))"
    )
