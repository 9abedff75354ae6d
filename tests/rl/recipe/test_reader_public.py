"""The public run's settings, number by number, and that no difference to our own recipes is left unsaid."""

import re
from dataclasses import asdict
from typing import Any

import pytest

from rl.recipe.config import REPO, Recipe
from rl.recipe.reader import load_as
from rl.recipe.sft_config import SftRecipe
from rl.recipe.tree import at
from rl.story.config import StoryRecipe

CRITIC_PROMPT = "InterleaveThinker/train/EasyR1/verl/utils/system.py:Iterative_T2I_PROMPT_QWEN"
_SFT = {
    "warmup_share": 0.1,
    "max_pixels": 1024 * 1024,
    "policy.model": "Qwen/Qwen3-VL-8B-Instruct",
    "policy.max_tokens_per_micro_batch": 16384,
    "policy.freeze_vision": True,
    "policy.lr": 2e-5,
    "policy.lr_schedule": "cosine",
    "policy.weight_decay": 1e-6,
    "policy.betas": [0.9, 0.999],
    "policy.max_grad_norm": 1.0,
    "save_every": 2000,
    "evaluation.best": "",
}
_IMAGES = {
    "generator.height": 1024,
    "generator.width": 1024,
    "generator.call.num_inference_steps": 4,
    "generator.call.guidance_scale": 1.0,
}
KINDS: dict[str, type[Any]] = {
    "critic_sft": SftRecipe,
    "planner_sft": SftRecipe,
    "critic_grpo": Recipe,
    "story": StoryRecipe,
}
RELEASED: dict[str, dict[str, object]] = {
    "critic_sft": {**_SFT, "num_epochs": 2.0, "data.kind": "critic_sft"},
    "planner_sft": {**_SFT, "num_epochs": 3.0, "data.kind": "planner_sft"},
    "critic_grpo": {
        **_IMAGES,
        "num_steps": 13_000 // 16,
        "save_every": 50,
        "max_staleness": 0,
        "max_pixels": 1024 * 1024,
        "rollout.prompt": CRITIC_PROMPT,
        "rollout.groups_per_step": 16,
        "rollout.n": 8,
        "rollout.temperature": 1.0,
        "rollout.max_tokens": 4096,
        "rollout.regenerate": "by_label",
        "algorithm.advantage": "grpo",
        "algorithm.normalise_by_std": True,
        "algorithm.filter_zero_variance": False,
        "algorithm.loss.policy_loss": "vanilla",
        "algorithm.loss.clip_low": 0.2,
        "algorithm.loss.clip_high": 0.3,
        "algorithm.loss.clip_dual": 3.0,
        "algorithm.loss.aggregation": "token-mean",
        "algorithm.loss.kl_coef": 0.0,
        "algorithm.loss.num_mini_batches": 2,
        "algorithm.loss.num_epochs": 1,
        "algorithm.loss.rollout_correction": None,
        "policy.model": "InterleaveThinker/Critic-SFT-8B",
        "policy.freeze_vision": False,
        "policy.lr": 2e-6,
        "policy.lr_schedule": "constant",
        "policy.warmup_steps": 0,
        "policy.weight_decay": 1e-2,
        "policy.betas": [0.9, 0.999],
        "policy.max_grad_norm": 1.0,
        "samplers.max_model_len": 16384 + 4096,
        "generator.name": "flux2-klein",
        "judge.model": "gemini-2.5-pro",
        "judge.call": {"temperature": None, "max_tokens": 8192},
    },
    "story": {
        **_IMAGES,
        "tries": 3,
        "best_of": "last",
        "max_pixels": 1024 * 1024,
        "planner.model": "InterleaveThinker/InterleaveThinker-Planner-8B",
        "planner.prompt": "InterleaveThinker/UEval/system.py:NARRATIVE_PROMPT_JSON",
        "planner.guidance_prompt": "InterleaveThinker/UEval/system.py:GUIDANCE_GLOBAL_PROMPT_JSON",
        "planner.left_out": [" both visually and textually"],
        "planner.many_images.num_images": 5,
        "planner.many_images.max_pixels": 384 * 384,
        "planner.max_tokens": 4096,
        "planner.num_attempts": 100,
        "critic.model": "InterleaveThinker/InterleaveThinker-Critic-8B",
        "critic.prompt": CRITIC_PROMPT,
        "critic.shown": "prompt",
        "critic.max_tokens": 4096,
        "critic.num_attempts": 100,
        "generator.name": "flux2-klein",
    },
}


def load(name: str) -> dict[str, Any]:
    kind = KINDS[name.removeprefix("public_")]
    recipe: dict[str, Any] = asdict(load_as(kind, REPO / "recipes" / f"{name}.yaml"))
    return recipe


@pytest.mark.parametrize("name", RELEASED)
def test_every_number_is_the_public_runs(name):
    recipe = load(f"public_{name}")
    assert {key: at(recipe, key) for key in RELEASED[name]} == RELEASED[name]


def test_the_reward_has_the_released_weights():
    terms = load("public_critic_grpo")["reward"]["terms"]
    assert [(term["fn"].rpartition(".")[2], term["weight"]) for term in terms] == [
        ("is_parsed", 0.5),
        ("is_right", 0.1),
        ("semantic_gain", 0.3),
        ("quality_gain", 0.1),
    ]


@pytest.mark.parametrize("name", RELEASED)
def test_every_difference_to_our_recipe_has_a_comment(name):
    theirs, ours = load(f"public_{name}"), load(name)
    file = REPO / "recipes" / f"public_{name}.yaml"
    text = file.read_text(encoding="utf-8")
    if extended := re.search(r"^extends: (public_\S+)", text, re.MULTILINE):
        text += (file.parent / extended[1]).read_text(encoding="utf-8")
    unsaid = [
        key
        for key in differing(theirs, ours)
        if not re.search(rf"\b{key.rpartition('.')[2]}\b[^#\n]*#", text)
        if key not in ("name", "run_dir")
    ]
    assert unsaid == []
    assert len(differing(theirs, ours)) > 5


def differing(one: dict[str, Any], other: dict[str, Any], key: str = "") -> list[str]:
    found = []
    for name in one.keys() | other.keys():
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differing(a, b, f"{key}{name}.")
        elif a != b:
            found.append(f"{key}{name}")
    return sorted(found)
