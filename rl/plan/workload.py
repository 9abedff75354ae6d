"""What one step is made of: how many responses, how long, about which images."""

from __future__ import annotations

from dataclasses import dataclass

from rl.plan.models import ModelSize
from rl.recipe.config import Recipe
from rl.recipe.paths import read_prompt
from rollout.single_step import Baseline, Regenerate

FAILED_SHARE = 0.6
"""Of records, where nothing tells it: as released (`docs/plan.md`)."""
RESPONSE_TOKENS = 400
"""Mean length of a critique, as released; of a recipe with short answers two fifths of the longest."""
LENGTH_SIGMA = 0.45
"""Spread of lengths: the standard deviation of their logarithms."""
NUM_IMAGES = 2
"""Images of a critic's prompt: before and after."""
_CHARACTERS_PER_TOKEN = 4.0
_TASK_TOKENS = 60
"""Instruction, prompt and chat template."""


@dataclass(frozen=True)
class Workload:
    """Means over steps."""

    groups: float
    n: float
    prompt_tokens: float
    """Of text and images."""
    response_tokens: float
    image_pixels: float
    """Of an image that the critic is shown, and of one that the generator makes."""
    edited_share: float
    """Share of the responses that are tried out."""
    learned_share: float = 1.0
    """Share of the groups that an update learns from."""

    @property
    def samples(self) -> float:
        return self.groups * self.n

    @property
    def response_sum(self) -> float:
        """Response tokens of a step."""
        return self.samples * self.response_tokens

    @property
    def trained_tokens(self) -> float:
        """Tokens that go through the text layers in an update, where a group's prompt is computed once."""
        return self.learned_share * (self.groups * self.prompt_tokens + self.response_sum)


def workload_of(recipe: Recipe, model: ModelSize | None, failed_share: float | None = None) -> Workload:
    """Return what a recipe's step is expected to be; `failed_share` is that of its records, where they are there."""
    pixels = image_pixels_of(recipe)
    image_tokens = NUM_IMAGES * (pixels / (model.pixels_per_token if model else 1024) + 2)
    text = len(read_prompt(recipe.rollout.prompt, "rollout.prompt")) / _CHARACTERS_PER_TOKEN
    share = FAILED_SHARE if failed_share is None else failed_share
    if recipe.rollout.success_share is not None:
        share = 1 - recipe.rollout.success_share
    is_always = Regenerate(recipe.rollout.regenerate) is Regenerate.ALWAYS
    return Workload(
        groups=recipe.rollout.groups_per_step,
        n=recipe.rollout.n,
        prompt_tokens=image_tokens + text + _TASK_TOKENS,
        response_tokens=min(RESPONSE_TOKENS, 0.4 * recipe.rollout.max_tokens),
        image_pixels=pixels,
        edited_share=1.0 if is_always else share,
    )


def image_pixels_of(recipe: Recipe) -> float:
    """Return the pixels of an image: the generator's, where the recipe says its size, else the largest shown."""
    made = recipe.generator.height * recipe.generator.width
    return float(min(made or recipe.max_pixels, recipe.max_pixels))


def has_whole_groups(recipe: Recipe) -> bool:
    """Whether all responses of a task are tried out, or none."""
    return Regenerate(recipe.rollout.regenerate) is not Regenerate.BY_VERDICT


def baseline_calls(recipe: Recipe) -> bool:
    """Whether a task's own attempt is judged, too, once a task."""
    return Baseline(recipe.rollout.baseline) is Baseline.JUDGE
