"""A recipe's reward, tried before anything starts, and who is asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from actors.config import EvidenceConfig
from actors.judge.probe import probe_judges
from actors.observer import judges_of
from actors.user_functions.runner import RewardRunner
from rl.recipe.config import Recipe
from rl.recipe.evidence import needed_evidence
from rl.reward_trial.samples import try_reward
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
