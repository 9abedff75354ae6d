"""Attempts: images that the generator makes from sentences, judged. SFT examples and RL tasks are drawn from them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import torch
from PIL import Image

from recipes.shapes.judge import is_success, score
from recipes.shapes.world import Scene, draw, random_offsets, random_scene, say_randomly, side_of_step
from rollout.types import Scores

if TYPE_CHECKING:
    from diffusers import Flux2KleinPipeline

BATCH = 8


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a step: the generator was told `prompt` to carry out `instruction` on `before`."""

    id: str
    """Names the attempt and decides its noise (`seed_for`)."""
    scene: Scene
    """What `before` shows; empty for a text-to-image step."""
    wishes: Scene
    """What the instruction asks for."""
    instruction: str
    prompt: str
    before: Image.Image | None
    after: Image.Image
    scores: Scores

    @property
    def is_success(self) -> bool:
        return is_success(self.scores)

    @property
    def split(self) -> str:
        """`train` or `heldout`, by what the step does, not by its wording."""
        return side_of_step(self.scene, self.wishes)


def seed_for(name: str, retry: int = 0) -> int:
    """Return the noise seed for an attempt's name; each retry has its own."""
    return random.Random(f"{name} {retry}").randrange(2**31)


def edit(
    pipe: Flux2KleinPipeline, before: Image.Image | None, prompts: list[str], seeds: list[int]
) -> list[Image.Image]:
    """Edit one picture (None: draw a new one) as each prompt says, each with its own noise."""
    from recipes.shapes.generator import CALL  # late: diffusers takes seconds to import; drawn attempts need none

    noise = [torch.Generator().manual_seed(seed) for seed in seeds]
    return pipe(image=before, prompt=prompts, generator=noise, **CALL).images


def make_attempts(pipe: Flux2KleinPipeline, name: str) -> Iterator[Attempt]:
    """Yield random attempts forever, instruction and prompt each in uniformly random words.

    A batch shares its before-picture, because the pipeline takes several pictures as references
    for one image; its wishes and prompts differ. `name` starts every id and decides everything.
    """
    rng = random.Random(f"attempts {name}")
    for batch in count():
        ids = [f"{name}-{batch * BATCH + index:06d}" for index in range(BATCH)]
        scene = random_scene(rng, rng.choice((0, 0, 1, 2)))
        before = draw(scene, random_offsets(rng)) if scene else None
        wishes = [random_scene(rng, rng.choice((1, 2))) for _ in ids]
        prompts = [say_randomly(target, rng) for target in wishes]
        images = edit(pipe, before, prompts, [seed_for(id_) for id_ in ids])
        for id_, target, prompt, after in zip(ids, wishes, prompts, images, strict=True):
            instruction = say_randomly(target, rng)
            yield Attempt(id_, scene, target, instruction, prompt, before, after, score(before, after, instruction))
