"""A small ablation on the shapes recipes, and stories told by nobody: what is satisfied is said."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.stories import ALONE, PLANNED
from rl.ablation.config import AblationRecipe, StoriesConfig, VariantConfig
from rl.ablation.plan import AblationPlan, Kind, make_plan
from rl.recipe.config import REPO

Trials = Mapping[str, Sequence[bool]]
SHAPES = REPO / "recipes" / "shapes" / "ablation.yaml"
VARIANTS = (VariantConfig("full", seeds=[0, 1]), VariantConfig("no_step", ["reward=no_step"], [0]))


def small(**changes: Any) -> AblationRecipe:
    """Return the recipe of two variants, of two stories and of one or three tries."""
    said: dict[str, Any] = {
        "name": "small",
        "train": str(REPO / "recipes" / "shapes_grpo.yaml"),
        "story": str(REPO / "recipes" / "shapes_story.yaml"),
        "overrides": ["reward=paper"],
        "variants": list(VARIANTS),
        "tries": [1, 3],
        "stories": StoriesConfig(num=2),
    }
    return AblationRecipe(**said | changes)


def planned(folder: Path, **changes: Any) -> AblationPlan:
    """Return the plan of `small`."""
    return make_plan(small(**changes), folder)


def tell(plan: AblationPlan, critic: str, arms: Mapping[int, Trials], others: Mapping[str, Trials] | None = None):
    """Write a critic's stories as `interleave eval stories` does, by tries; `others` are arms without a critic."""
    told = [_arm(f"{PLANNED} + {critic}", tries, trials) for tries, trials in arms.items()]
    without = {ALONE: arms[1], PLANNED: arms[1]} | dict(others or {})
    told += [_arm(name, 1, trials) for name, trials in without.items()]
    file = plan.told(critic)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"arms": told}))
    plan.part(Kind.STORIES, critic).finish(60.0)


def _arm(name: str, tries: int, trials: Trials) -> dict[str, Any]:
    steps = [
        {"story": story, "step": step, "is_satisfied": good, "error": None}
        for story, of in trials.items()
        for step, good in enumerate(of, 1)
    ]
    return {"name": name, "tries": tries, "steps": steps}
