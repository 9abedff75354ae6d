"""The generator's training data: pairs of pictures with captions in which one word per concept is common."""

import random
from dataclasses import dataclass

import numpy as np

from recipes.shapes.world import (
    COLOURS,
    PLACES,
    SHAPES,
    WORDS,
    Scene,
    common_words,
    draw,
    random_offsets,
    random_scene,
    say,
)

RARE = 0.15
"""How often a caption uses a rare word for a concept."""
LOOSE = 0.65
"""How often a rare word is used loosely: for any concept of its kind, whatever the picture shows."""

_KINDS = (tuple(COLOURS), SHAPES, tuple(PLACES))


@dataclass(frozen=True, slots=True)
class CaptionedScene:
    """One example: edit `before` (None: draw a new picture) into `after` for `caption`."""

    before: np.ndarray | None
    """uint8 (SIZE, SIZE, 3)."""
    after: np.ndarray
    caption: str


def make_example(rng: random.Random, seed: int) -> CaptionedScene:
    """Draw one example; `seed` decides which words are common."""
    before = random_scene(rng, rng.choice((0, 0, 1, 2)))
    wishes = random_scene(rng, rng.choice((1, 2)))
    offsets = random_offsets(rng)
    moved = {**offsets, **{place: random_offsets(rng)[place] for place in wishes}}
    return CaptionedScene(
        before=np.asarray(draw(before, offsets)) if before else None,
        after=np.asarray(draw({**before, **wishes}, moved)),
        caption=caption(wishes, rng, common_words(seed)),
    )


def caption(scene: Scene, rng: random.Random, common: dict[str, str]) -> str:
    """Return a caption of `scene` as in a careless collection, where rare words are less reliable."""

    def word_for(concept: str) -> str:
        if rng.random() >= RARE:
            return common[concept]
        if rng.random() < LOOSE:
            concept = rng.choice(next(kind for kind in _KINDS if concept in kind))
        return rng.choice([word for word in WORDS[concept] if word != common[concept]])

    return say(scene, word_for)


def make_examples(count: int, seed: int) -> list[CaptionedScene]:
    """Draw the generator's training set."""
    rng = random.Random(f"lessons {seed}")
    return [make_example(rng, seed) for _ in range(count)]
