"""What a run would lack on this machine: data, keys, models, packages. Nothing is downloaded, asked or run.

What is wrong with a recipe is raised, in the words of `train`, by the checks that `train` makes; what is merely not
there (yet) is listed. The user's own modules are imported, nothing heavy of ours.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from pathlib import Path

from actors.evidence.config import EvidenceConfig
from actors.evidence.kind import kind_of as evidence_kind
from actors.generator.kind import check_befores
from actors.generator.kind import kind_of as generator_kind
from actors.generator.kind import resolve as resolve_generator
from actors.judge.judge import check_baseline, check_judge_settings, kind_of
from actors.judge.registry import traits_of
from actors.metered.config import EndpointConfig
from actors.metered.keys import read_key
from actors.observer import check_evidence_settings, describe_evidence
from actors.policy.check import check_loss, check_policy
from actors.resources import check_room
from actors.user_functions.runner import RewardRunner
from data.errors import RecordError
from rl.check_reward import needed_evidence
from rl.estimator_check import check_estimator_name
from rl.plan.devices import Devices
from rl.plan.judges import judges_asked
from rl.plan.models import local_folder
from rl.plan.placement import roles_of
from rl.recipe.config import Recipe
from rl.recipe.paths import model_path, placed_generator, places_of, read_prompt, resolve_data
from rl.recipe.tasks import count_tasks, first_tasks
from rl.task_sampler import too_few
from rollout.single_step import Baseline
from rollout.text.critique import FIELDS, NUM_IMAGES, render_messages
from rollout.text.limits import is_own
from rollout.types import Task

DATA = ("train", "heldout")
"""Keys of `data` that name files of tasks."""
NUM_READ = 500
"""First records of each file that are read, as many as take no second."""


@dataclass(frozen=True)
class Missing:
    """Something that is not here."""

    key: str
    """The recipe's key that names it."""
    text: str
    is_needed: bool = True
    """`train` would refuse to start without it; otherwise it gets it, or does without."""

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


def check_recipe(recipe: Recipe) -> dict[str, EvidenceConfig]:
    """Return the evidence that a recipe's reward needs.

    Raises ValueError for what is wrong with the recipe, as far as that shows without data, keys, models and GPUs.
    """
    if not recipe.ray_address:
        check_room(roles_of(recipe), cpus=recipe.num_cpus, gpus=inf, where="this machine", cpus_key="num_cpus")
    check_estimator_name(recipe.algorithm.advantage)
    check_loss(recipe.algorithm.loss)
    template = read_prompt(recipe.rollout.prompt, "rollout.prompt", FIELDS, NUM_IMAGES)
    check_policy(recipe.policy, model_path(recipe.policy.model, "policy.model"))
    training, heldout = (first_tasks_here(recipe, key) for key in DATA)
    for task in training[:1]:
        render_messages(template, task)
    generator = resolve_generator(placed_generator(recipe.generator))
    check_befores(recipe.generator, {task.before and "an image" for task in training + heldout})
    if not generator_kind(generator).has_prices:  # those want a key: see below
        generator_kind(generator).check(generator)
    check_baseline(Baseline(recipe.rollout.baseline), recipe.judge)
    check_judge_settings(recipe.judge)
    needed = needed_evidence(recipe, RewardRunner(recipe.reward.terms).check(), check_evidence_settings)
    for name, config in recipe.evidence.items():
        if name not in needed and config.judge is None:  # it is written into the run's folder all the same
            describe_evidence(config)
    return needed


def count_records(recipe: Recipe) -> dict[str, tuple[int, int]]:
    """Return how many records each file that is here has, and how many failed ones, by the key of `data`.

    Raises ValueError where those for training are too few for a step.
    """
    counted = {}
    for key in DATA:
        if _is_here(file := resolve_data(getattr(recipe.data, key))):
            with _without_missing_images():
                counted[key] = count_tasks(recipe.data, file)
    if "train" in counted and (few := too_few(*counted["train"], recipe.rollout)):
        raise ValueError(f"data.train={recipe.data.train}: {few}")
    return counted


@contextmanager
def _without_missing_images() -> Iterator[None]:
    """An image that is not here is missing, not wrong."""
    try:
        yield
    except RecordError as error:
        if error.kind != "image_missing":
            raise


def not_tried(recipe: Recipe, *, is_own_tried: bool = False) -> str:
    """Return what `train` tries at its start and neither `check_recipe` nor `missing` does, in one line.

    `is_own_tried`: judges, generator and evidence of the user's own were asked (`rl.try_own`), as a dry run does.
    """
    left = [
        f"records after the first {NUM_READ} (interleave data check), what is in images (interleave data check --deep)"
    ]
    if recipe.reward.probe:
        left.insert(0, "rewards on samples (interleave reward test)")
    if any(traits_of(judge.kind).has_prices for _, judge in judges_asked(recipe)):
        left.append("whether endpoints answer (interleave doctor --ask)")
    if not is_own_tried and (
        is_own(recipe.generator.kind)
        or any(kind_of(judge).code_of(judge) for _, judge in judges_asked(recipe))
        or any(evidence_kind(evidence).code_of(evidence) for evidence in recipe.evidence.values())
    ):
        left.append("what code of your own, or a scorer, makes of the records (interleave train --dry-run)")
    if recipe.benchmark.name:
        left.append("what benchmark names")
    return f"not tried: {', '.join(left)}"


def missing(recipe: Recipe, devices: Devices) -> list[Missing]:
    """Return what a checked recipe names and this machine does not have."""
    return [*_data(recipe), *_keys(recipe), *_models(recipe), *_packages(recipe, devices)]


def _data(recipe: Recipe) -> Iterator[Missing]:
    for key in DATA:
        said = getattr(recipe.data, key)
        if not _is_here(file := resolve_data(said)):
            yield Missing(f"data.{key}", f"{said} is not there: looked for {places_of(said)}")
            continue
        try:
            first_tasks(recipe.data, file, NUM_READ)
        except RecordError as error:
            yield Missing(f"data.{key}", str(error))


def _is_here(file: Path) -> bool:
    return file.exists() or bool(glob.glob(str(file)))


def first_tasks_here(recipe: Recipe, key: str) -> list[Task]:
    """Return the first tasks of a file; none where it, or an image, is not here. Raises `RecordError` for a bad one."""
    file = resolve_data(getattr(recipe.data, key))
    with _without_missing_images():
        return first_tasks(recipe.data, file, NUM_READ) if _is_here(file) else []
    return []


def _keys(recipe: Recipe) -> Iterator[Missing]:
    """Yield the variables that have no key, each once."""
    wanted: dict[str, str] = {}
    for where, judge in judges_asked(recipe):
        if traits_of(judge.kind).has_prices:
            for one in judge.endpoints or [EndpointConfig(judge.base_url, judge.api_key_env)]:
                wanted.setdefault(one.api_key_env, where)
    generator = resolve_generator(recipe.generator)
    if generator_kind(generator).has_prices and not generator.server.command:
        is_ours = generator.kind == "service" or generator.name == "service"
        given = [one.api_key_env for one in generator.endpoints] or [generator.api_key_env]
        for name in given:
            if name or not is_ours:
                wanted.setdefault(name or "OPENAI_API_KEY", "generator")
    for name, where in wanted.items():
        try:
            read_key(name, where)
        except ValueError as error:
            yield Missing(f"{where}.api_key_env", str(error).removeprefix(f"{where}: ").split(" (any text")[0])


def _models(recipe: Recipe) -> Iterator[Missing]:
    generator = placed_generator(resolve_generator(recipe.generator))
    named = {"policy.model": recipe.policy.model}
    if generator_kind(generator).has_pipeline:
        named["generator.model"] = generator.model
    for where, judge in judges_asked(recipe):
        if judge.kind == "vllm":
            named[f"{where}.model"] = judge.model
    for key, name in named.items():
        folder = local_folder(model_path(name, key, is_plain=False))
        if folder is None:
            is_offline = os.environ.get("HF_HUB_OFFLINE") == "1"
            how = (
                "HF_HUB_OFFLINE is set, so that it is not downloaded" if is_offline else "it is downloaded at the start"
            )
            yield Missing(key, f"{name} is not on this machine: {how}", is_offline)


def _packages(recipe: Recipe, devices: Devices) -> Iterator[Missing]:
    policy, where = recipe.policy, " here" if devices.is_simulated else ""
    if policy.attn_implementation == "flash_attention_2" and find_spec("flash_attn") is None:
        needed = not policy.shared_prefix
        how = "policy.shared_prefix=false needs it" if needed else "torch's own kernels take its place"
        yield Missing("policy.attn_implementation", f"flash-attn is not installed{where}: {how}", needed)
