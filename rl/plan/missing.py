"""What a run would lack on this machine: data, keys, models, packages. Nothing is downloaded, asked or run.

What is wrong with a recipe is raised, in the words of `train`; what is merely not there (yet) is listed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from pathlib import Path

from actors.generator.kind import kind_of as generator_kind
from actors.generator.kind import resolve as resolve_generator
from actors.judge.config import JudgeConfig
from actors.judge.registry import traits_of
from actors.metered.config import EndpointConfig
from actors.metered.keys import read_key
from actors.policy.check import check_loss, check_policy
from actors.resources import check_room
from rewards.functions.import_path import FunctionError, identity_of
from rl.plan.devices import Devices
from rl.plan.judges import judges_asked
from rl.plan.models import local_folder
from rl.plan.placement import roles_of
from rl.recipe.config import Recipe
from rl.recipe.paths import model_path, placed_generator, read_prompt, resolve_data
from rollout.text.critique import FIELDS, NUM_IMAGES
from rollout.text.limits import is_own

_PROMPTS = ("semantics_rubric", "quality_rubric")
_CHECKLIST = ("questions_prompt", "answers_prompt")


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


def check_recipe(recipe: Recipe) -> None:
    """Raise ValueError for what is wrong with a recipe, as far as that shows without data, keys, models and GPUs."""
    if not recipe.ray_address:
        check_room(roles_of(recipe), cpus=recipe.num_cpus, gpus=inf, where="this machine", cpus_key="num_cpus")
    check_loss(recipe.algorithm.loss)
    read_prompt(recipe.rollout.prompt, "rollout.prompt", FIELDS, NUM_IMAGES)
    check_policy(recipe.policy, model_path(recipe.policy.model, "policy.model"))
    generator = resolve_generator(placed_generator(recipe.generator))
    if not generator_kind(generator).has_prices:  # those want a key: see below
        generator_kind(generator).check(generator)
    for where, judge in judges_asked(recipe):
        _check_judge(where, judge)
    for term in recipe.reward.terms:
        try:
            identity_of(term.fn)
        except FunctionError as error:
            raise ValueError(f"reward term {term.fn}: {error}") from None


def missing(recipe: Recipe, devices: Devices) -> list[Missing]:
    """Return what a checked recipe names and this machine does not have."""
    return [*_data(recipe), *_keys(recipe), *_models(recipe), *_packages(recipe, devices)]


def _data(recipe: Recipe) -> Iterator[Missing]:
    for key in ("train", "heldout"):
        said = getattr(recipe.data, key)
        if not resolve_data(said).exists() and not list(Path().glob(said) if not said.startswith("/") else ()):
            yield Missing(f"data.{key}", f"{said} is not there: looked for {Path(said).expanduser().absolute()}")


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


def _check_judge(where: str, judge: JudgeConfig) -> None:
    if traits_of(judge.kind).is_asked:
        if not judge.model:
            raise ValueError(f"{where}.model is not set; give the model's name")
        for name in _CHECKLIST if judge.rubric == "checklist" else _PROMPTS:
            read_prompt(getattr(judge, name), f"{where}.{name}")
    elif judge.kind == "embedded" or is_own(judge.kind):
        key, path = ("scorer", judge.scorer) if judge.kind == "embedded" else ("kind", judge.kind)
        try:
            identity_of(path)
        except FunctionError as error:
            raise ValueError(f"{where}.{key} is {path!r}: {error}") from None
