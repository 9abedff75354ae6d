"""Requests of users of the shapes world: scenes in steps, from nothing or a picture, and questions about a picture.

    Show in 2 steps: a red box at the left and a lime dot at the top and a jade cone at the floor
    <picture> After step 1 tell in 1 steps: a navy tile at the east
    <picture> What is at the summit?

Things are spread evenly over the steps, in order; the first steps get any remainder. `tell` asks for a text with each
picture, `show` does not.
"""

import hashlib
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from actors.store.files import naming, write_whole
from recipes.shapes.world import PLACES, WORDS, draw, random_offsets, random_scene, say_randomly

MAX_PER_STEP = 2
"""Things in one step: the generator has learned no more."""
_STEPS = re.compile(r"(?:After step (\d+) )?([Ss]how|[Tt]ell) in (\d+) steps: (.+)")
_QUESTION = re.compile(r"What is at the (\S+)\?")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A parsed request for pictures."""

    steps: tuple[tuple[str, ...], ...]
    """The things of each step, in the request's words."""
    first: int
    """Number of the first step."""
    is_told: bool
    """Each picture gets a text."""


def read_wanted(text: str) -> Wanted | None:
    """Parse a request for pictures; None for any other.

    >>> read_wanted("After step 1 tell in 2 steps: a b c at the d and e and f")
    Wanted(steps=(('a b c at the d', 'e'), ('f',)), first=2, is_told=True)
    """
    match = _STEPS.fullmatch(text)
    if match is None:
        return None
    done, verb, count, sentence = match.groups()
    things = sentence.split(" and ")
    num_steps = int(count)
    if not 1 <= num_steps <= len(things):
        raise ValueError(f"{text!r} asks for {num_steps} steps of {len(things)} things")
    share, left = divmod(len(things), num_steps)
    steps, start = [], 0
    for place in range(num_steps):
        end = start + share + (place < left)
        steps.append(tuple(things[start:end]))
        start = end
    return Wanted(tuple(steps), int(done or 0) + 1, verb.lower() == "tell")


def read_question(text: str) -> str | None:
    """Return the place that a question is about; None if it is not a question.

    >>> read_question("What is at the summit?")
    'top'
    """
    match = _QUESTION.fullmatch(text)
    return next((place for place in PLACES if match and match[1] in WORDS[place]), None)


def make_request(rng: random.Random) -> tuple[str, Image.Image | None]:
    """Draw a request and its picture: 45 % from nothing, 45 % from a picture, the rest questions."""
    kind = rng.random()
    if kind < 0.1:
        scene = random_scene(rng, rng.choice((1, 2, 3)))
        place = rng.choice(list(PLACES))
        return f"What is at the {rng.choice(WORDS[place])}?", draw(scene, random_offsets(rng))
    num_things = rng.choice((1, 1, 2, 2, 3, 4))
    num_steps = rng.randint(-(-num_things // MAX_PER_STEP), num_things)
    wishes, verb = random_scene(rng, num_things), rng.choice(("show", "tell"))
    asked = f"{verb} in {num_steps} steps: {say_randomly(wishes, rng)}"
    if kind < 0.55:
        return asked.capitalize(), None
    done = rng.choice((0, 0, 1, 2))
    asked = f"After step {done} {asked}" if done else asked.capitalize()
    return asked, draw(random_scene(rng, rng.choice((1, 2))), random_offsets(rng))


def write_requests(folder: Path, seed: int, count: int) -> Path:
    """Write `requests.jsonl` and its pictures; no two requests are alike."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"requests {seed}")
    file = folder / "requests.jsonl"
    lines: dict[str, None] = {}
    while len(lines) < count:
        text, picture = make_request(rng)
        images = [] if picture is None else [f"images/{_digest(picture)}.png"]
        line = json.dumps({"request": text, "images": images})
        if line in lines:
            continue
        lines[line] = None
        if picture is not None:
            with naming(folder / images[0]):
                picture.save(folder / images[0])
    write_whole(file, "".join(f"{line}\n" for line in lines).encode())
    return file


def _digest(picture: Image.Image) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()[:16]
