"""What of a recipe works, and is most likely not what was meant: a line each, at a run's start and in its plan."""

from collections.abc import Iterator, Sequence

from rewards.functions.import_path import is_ours
from rl.recipe.config import Recipe
from rollout.single_step import Baseline
from rollout.text.counted import counted
from rollout.text.limits import is_own
from rollout.types import Task


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


def overlap(training: Sequence[Task], heldout: Sequence[Task]) -> Iterator[str]:
    """Yield a line if tasks are held out that are learned from as well: the same words and images, whatever their ids.

    Only sets that were read whole (lists) are compared; `interleave data check --against` takes those of any size.
    """
    if isinstance(training, list) and isinstance(heldout, list):
        seen = {_content(task) for task in training}
        if num_seen := sum(_content(task) in seen for task in heldout):
            yield (
                f"{num_seen:,} of {counted(len(heldout), 'held-out record')} {'is' if num_seen == 1 else 'are'} in "
                "data.train as well, so that figures are not those of unseen tasks (interleave data split)"
            )


def _content(task: Task) -> tuple[object, ...]:
    return task.instruction, task.prompt, task.before, task.after
