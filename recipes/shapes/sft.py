"""The critic's cold start: it learns to look, to judge, and to phrase a request in any words with equal probability."""

import random
from pathlib import Path

from PIL import Image

from recipes.shapes.attempts import Attempt
from recipes.shapes.judge import score
from recipes.shapes.teacher import ideal_critique
from recipes.shapes.world import (
    COLOURS,
    PLACES,
    SHAPES,
    SIZE,
    Scene,
    Thing,
    draw,
    random_offsets,
    random_scene,
    say_randomly,
)
from rollout.text.critique import format_critique, render_messages
from rollout.types import Scores, Task

PROMPT_FILE = Path(__file__).with_name("critic_prompt.txt")


def make_drawn_attempt(rng: random.Random) -> Attempt:
    """Return an attempt whose after-picture is drawn, not generated; half of them have one thing wrong."""
    scene, wishes = random_scene(rng, rng.choice((0, 0, 1, 2))), random_scene(rng, rng.choice((1, 2)))
    offsets = random_offsets(rng)
    result: Scene = {**scene, **wishes}
    if rng.random() < 0.5:
        _spoil(result, rng)
    instruction = say_randomly(wishes, rng)
    before = draw(scene, offsets) if scene else None
    after = draw(result, offsets)
    scores = score(before, after, instruction)
    return Attempt("drawn", scene, wishes, instruction, say_randomly(wishes, rng), before, after, scores)


def _spoil(scene: Scene, rng: random.Random) -> None:
    """Change one thing's colour or shape, move it, or drop it."""
    place = rng.choice(list(scene))
    thing, fault = scene.pop(place), rng.randrange(4)
    if fault == 0:
        scene[place] = Thing(rng.choice([c for c in COLOURS if c != thing.colour]), thing.shape)
    elif fault == 1:
        scene[place] = Thing(thing.colour, rng.choice([s for s in SHAPES if s != thing.shape]))
    elif fault == 2:
        scene[rng.choice([p for p in PLACES if p != place])] = thing


def critic_messages(instruction: str, prompt: str) -> list[dict]:
    """Return the chat messages that ask the critic about an attempt."""
    # Only a task's texts go into its messages; pictures are passed separately.
    task = Task("", instruction, prompt, None, "", False, Scores(0, 0))
    return list(render_messages(PROMPT_FILE.read_text(encoding="utf-8"), task))


def ideal_answer(attempt: Attempt, rng: random.Random) -> str:
    """Return what SFT teaches for `attempt`."""
    return format_critique(ideal_critique(attempt.scene, attempt.wishes, attempt.after, attempt.is_success, rng))


def canvas(image: Image.Image | None) -> Image.Image:
    """Return the picture, or the white canvas that stands for none."""
    return image if image is not None else Image.new("RGB", (SIZE, SIZE), "white")
