"""Everything that can be wrong with a run is found here, before anything starts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from actors.config import EvidenceConfig
from actors.services import check_services
from actors.user_functions.runner import RewardRunner
from rl.advantages import check_estimator
from rl.check_reward import check_reward, probe_all_judges
from rl.launch import check_launch
from rl.recipe.config import Recipe, resolve_path
from rl.recipe.tasks import read_tasks
from rl.run_dir.provenance import Sources, sources_of
from rl.run_dir.start import check_run_dir, model_path, placed_generator
from rollout.single_step import Baseline
from rollout.text.critique import render_messages
from rollout.text.marks import read_prompt_text
from rollout.types import Task

NUM_CHECKED = 1000
"""Tasks of each kind that tell what the generator will be asked for."""


@dataclass(frozen=True)
class PreparedRun:
    """A recipe, checked, with all that can be read before anything starts."""

    recipe: Recipe
    training: Sequence[Task]
    heldout: Sequence[Task]
    template: str
    model: str
    """The policy's folder, or hub id."""
    reward: RewardRunner
    evidence: dict[str, EvidenceConfig]
    """What the reward needs beside the judge's scores."""
    sources: Sources
    is_resumed: bool


def prepare(recipe: Recipe, *, is_resumed: bool = False, accepted: Collection[str] = ()) -> PreparedRun:
    """Check everything that can be wrong with a recipe before it costs anything. Raises ValueError.

    A resumed run may differ from what it was in the keys of `accepted`.
    """
    check_estimator(recipe.algorithm.advantage)
    recipe.algorithm.loss.check_usable()
    training, heldout = (read_tasks(path, recipe.data) for path in (recipe.data.train, recipe.data.heldout))
    template = _template(recipe.rollout.prompt, training[0])
    model = model_path(recipe.policy.model, "policy.model")
    some = chain(islice(training, NUM_CHECKED), islice(heldout, NUM_CHECKED))
    check_services(
        placed_generator(recipe.generator),
        recipe.judge,
        befores={task.before and "an image" for task in some},
        baseline=Baseline(recipe.rollout.baseline),
    )
    reward, evidence = check_reward(recipe, training)
    sources = sources_of(recipe)
    check_run_dir(recipe, is_resumed, sources, accepted)
    check_launch(recipe, {f"evidence.{name}": config for name, config in evidence.items()})
    probe_all_judges(recipe, evidence)
    return PreparedRun(recipe, training, heldout, template, model, reward, evidence, sources, is_resumed)


def _template(path: str, task: Task) -> str:
    """Return the critic's prompt file, which has been tried on a task."""
    file = resolve_path(path)
    if not file.is_file():
        raise ValueError(f"rollout.prompt is {path}: there is no such file")
    template = read_prompt_text(file)
    render_messages(template, task)
    return template
