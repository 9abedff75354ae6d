"""What of a recipe works, and is most likely not what was meant: a line each, at a run's start and in its plan."""

from collections.abc import Iterator

from rewards.functions.import_path import is_ours
from rl.recipe.config import Recipe
from rollout.single_step import Baseline
from rollout.text.counted import counted
from rollout.text.limits import is_own


def notices(recipe: Recipe, num_heldout: int | None) -> Iterator[str]:
    """Yield them; `num_heldout`: held-out records, None where they are not here."""
    judge, settings = recipe.judge, recipe.evaluation
    own = {"judge.kind": judge.kind} if is_own(judge.kind) else {}
    if judge.scorer and not is_ours(judge.scorer):
        own["judge.scorer"] = judge.scorer
    if own and Baseline(recipe.rollout.baseline) is Baseline.RECORD:
        key, name = next(iter(own.items()))
        yield (
            f"rollout.baseline=record compares scores of {key}={name} with those in the records: "
            "if another judge gave those, set rollout.baseline=judge"
        )
    is_during = 0 < settings.every < recipe.num_steps
    asked = {"num_tasks": settings.num_tasks, "num_tasks_during": settings.num_tasks_during if is_during else 0}
    key = max(asked, key=lambda name: asked[name])
    if num_heldout is not None and num_heldout < asked[key]:
        has = f"data.heldout has {counted(num_heldout, 'record')}"
        yield f"{has}: evaluation.{key}={asked[key]} takes no more than there are"
