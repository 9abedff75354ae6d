"""Which of a recipe's evidence the reward's terms need: no more than that is gathered, as it costs time and money."""

from __future__ import annotations

from collections.abc import Mapping

from actors.config import EvidenceConfig
from actors.observer import check_evidence
from rewards.signature import RewardSignature
from rl.recipe.config import Recipe
from rollout.text.limits import nearest


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
