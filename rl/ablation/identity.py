"""Whose folder it is: an ablation goes on where all that its figures depend on is as it was.

Variants and seeds may come and go. What a training learned by is in its own folder; what is the same for all stories is
in the ablation's.
"""

import json
from dataclasses import asdict
from pathlib import Path

from rl.ablation.config import SFT
from rl.ablation.plan import AblationPlan, Kind
from rl.atomic_write import atomic_write
from rl.json_file import read_object
from rl.recipe.reader import load_recipe, to_yaml
from rl.recipe.resumable import describe_changes, forbidden_changes, is_resumable_change
from rl.recipe.same_place import is_same_place
from rl.run_dir.resume import has_learned, working_folder
from rl.story.config import load_story_recipe

FORMAT = "interleave.ablation/1"
_OF_MACHINES = frozenset(
    {"num_cpus", "ray_address", "store", "store_is_shared", "store_limit_gib", "ledger", "service"}
)
"""Sections of a recipe of stories by which no story becomes another one."""


_PATHS = ("stories.file", "sft")


def check_folder(plan: AblationPlan) -> None:
    """Raise ValueError that names what differs, for a folder that is another ablation's or none's."""
    about, story = plan.folder / "ablation.json", plan.folder / "story.yaml"
    if not about.exists():
        if plan.folder.exists() and any(not path.name.startswith(".") for path in plan.folder.iterdir()):
            raise ValueError(f"{plan.folder} holds something that is no ablation; give a new folder (--out)")
        return
    was, now = read_object(about), _about(plan)
    changed = [
        f"{key} (was {_brief(was.get(key))}, now {_brief(now[key])})"
        for key in now
        if was.get(key) != now[key] and not (key in _PATHS and is_same_place(was.get(key), now[key]))
    ]
    saved = load_story_recipe(story)
    if keys := forbidden_changes(saved, plan.story, lambda key: key.split(".")[0] in _OF_MACHINES):
        changed.append(f"recipe of stories, {describe_changes(saved, plan.story, keys)}")
    for critic, training in plan.trainings.items():
        file = Path(training.run_dir) / "recipe.yaml"
        if file.exists() and (has_learned(file.parent) or plan.part(Kind.TRAIN, critic).is_done):
            began = load_recipe(file)
            was_in = working_folder(file.parent)
            if keys := forbidden_changes(began, training, _may_change, was_in):
                changed.append(f"training of {critic}, {describe_changes(began, training, keys, was_in)}")
    if changed:
        raise ValueError(
            f"{plan.folder} belongs to an ablation with a different {changed[0]}; put it back, or give another folder "
            "(--out)"
        )


def claim(plan: AblationPlan) -> None:
    """Note in its folder what an ablation is."""
    atomic_write(plan.folder / "story.yaml", to_yaml(plan.story))
    atomic_write(plan.folder / "ablation.json", json.dumps(_about(plan), indent=1))


def _about(plan: AblationPlan) -> dict[str, object]:
    return {
        "format": FORMAT,
        "tries": plan.recipe.tries,
        **{f"stories.{key}": value for key, value in asdict(plan.recipe.stories).items()},
        "stories": [[story.id, story.request, *story.instructions] for story in plan.stories],
        "sft": plan.model(SFT),
    }


def _may_change(key: str) -> bool:
    """Whether a training may go on with another value of a key.

    >>> [_may_change(key) for key in ("workers.num_workers", "num_steps")]
    [True, False]
    """
    # The settings of --quick are fewer steps; a run that was resumed with more of them had another schedule.
    return key != "num_steps" and is_resumable_change(key)


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}..."
