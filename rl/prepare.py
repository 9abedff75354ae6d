"""Everything that can be wrong with a run is found here, before anything starts."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from actors.config import EvidenceConfig, GeneratorConfig, JudgeConfig
from actors.generator.kind import check_generator
from actors.generator.probe import probe_generator
from actors.judge.judge import check_baseline, check_judge
from actors.judge.probe import probe_judges
from actors.observer import judges_of
from actors.policy.check import check_loss, check_policy
from actors.store.store import Store
from actors.user_functions.runner import RewardRunner
from rl.advantages import check_estimator
from rl.check_reward import check_reward, idle_evidence
from rl.disk_room import check_disk
from rl.evaluation import evaluated_before
from rl.launch import check_launch
from rl.official.during import Part, prepare_part
from rl.recipe.config import Recipe
from rl.recipe.paths import found_data, model_path, placed_generator, read_prompt
from rl.recipe.tasks import read_tasks
from rl.run_dir.provenance import Sources, sources_of
from rl.run_dir.resume import check_run_dir
from rl.task_sampler import count_failed, too_few
from rl.try_own import try_own
from rollout.single_step import Baseline
from rollout.text.critique import FIELDS, NUM_IMAGES, render_messages
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
    """The critic's prompt file, which has been tried on a task."""
    model: str
    """The policy's folder, or hub id."""
    generator: GeneratorConfig
    """With its model's folder found."""
    reward: RewardRunner
    evidence: dict[str, EvidenceConfig]
    """What the reward needs beside the judge's scores."""
    idle_evidence: str
    """Evidence that the recipe configures and no reward needs, as a sentence; empty if there is none."""
    sources: Sources
    is_resumed: bool
    benchmark: Part | None = None
    """What is run of a public benchmark beside training."""


def prepare(recipe: Recipe, *, is_resumed: bool = False, accepted: Collection[str] = ()) -> PreparedRun:
    """Check everything that can be wrong with a recipe before it costs anything. Raises ValueError.

    A resumed run may differ from what it was in the keys of `accepted`.
    """
    check_estimator(recipe.algorithm.advantage)
    template = read_prompt(recipe.rollout.prompt, "rollout.prompt", FIELDS, NUM_IMAGES)
    model = model_path(recipe.policy.model, "policy.model")
    generator = placed_generator(recipe.generator)
    files = found_data(recipe.data.train, "data.train"), found_data(recipe.data.heldout, "data.heldout")
    check_loss(recipe.algorithm.loss)
    check_policy(recipe.policy, model)
    training, heldout = read_tasks(recipe.data, *files)
    if few := too_few(len(training), count_failed(training), recipe.rollout):
        raise ValueError(f"data.train={recipe.data.train}: {few}")
    render_messages(template, training[0])
    some = chain(islice(training, NUM_CHECKED), islice(heldout, NUM_CHECKED))
    check_generator(generator, {task.before and "an image" for task in some})
    check_baseline(Baseline(recipe.rollout.baseline), recipe.judge)
    judge = check_judge(recipe.judge)
    reward = RewardRunner(recipe.reward.terms)
    evidence = check_reward(recipe, reward, training)
    idle = idle_evidence(recipe, evidence)
    sources = sources_of(recipe, judge)
    check_run_dir(recipe, is_resumed, sources, accepted)
    if is_resumed:
        evaluated_before(Path(recipe.run_dir))
    check_disk(recipe)
    check_launch(recipe, {f"evidence.{name}": config for name, config in evidence.items()})
    try_own(replace(recipe, evidence=evidence), training, heldout)
    benchmark = prepare_part(recipe.benchmark, Store(recipe.store)) if recipe.benchmark.name else None
    more = {"benchmark.judge": recipe.benchmark.judge} if benchmark else {}
    asyncio.run(_probe({"judge": recipe.judge} | judges_of(evidence) | more, generator))
    return PreparedRun(
        recipe, training, heldout, template, model, generator, reward, evidence, idle, sources, is_resumed, benchmark
    )


async def _probe(judges: Mapping[str, JudgeConfig], generator: GeneratorConfig) -> None:
    await probe_judges(judges)
    await probe_generator(generator)
